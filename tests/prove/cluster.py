"""A three-node cluster with three replicas loses the leader of a stream again and again, under load.

Two orchestrators, a router and three agents work meanwhile, on tasks for now, delayed ones, the fires of a
schedule and unique ones. A prober writes to LEDGER every few milliseconds and measures how long no write was
confirmed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.broker.background import Background
from outrider.broker.codec import dump
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.pipeline import Appender
from outrider.broker.subjects import Subjects
from outrider.client import Client
from tests.prove.book import Book
from tests.prove.fleet import FLEET, Fleet
from tests.prove.nodes import Cluster, running_cluster
from tests.prove.nursery import Nursery
from tests.prove.passing import pass_time
from tests.prove.timed import TimedWork
from tests.prove.timed_verdict import judge_timed
from tests.prove.verdict import judge
from tests.prove.work import TERMINAL_WITHIN_S, submit_all, until_settled

BATCH = 150
DOWN_S = 2.0
PROBE_EVERY_S = 0.02
STEADY_WITHIN_S = 30.0
MIB = 1024**2
BOUNDS = {
    "OUTRIDER_REPLICAS": "3",
    "OUTRIDER_TASKS_BYTES": str(256 * MIB),
    "OUTRIDER_LEDGER_BYTES": str(512 * MIB),
    "OUTRIDER_CHUNKS_BYTES": str(64 * MIB),
    "OUTRIDER_PAYLOADS_BYTES": str(64 * MIB),
}
"""The orchestrators make the streams so."""


@dataclass(slots=True)
class Gaps:
    """How long nobody could write, and how long a connection was away."""

    confirmed_at: list[float] = field(default_factory=list)
    went_at: float = 0.0
    away_s: list[float] = field(default_factory=list)

    def link(self, is_up: bool) -> None:
        if not is_up:
            self.went_at = time.monotonic()
        elif self.went_at:
            self.away_s.append(time.monotonic() - self.went_at)

    @property
    def worst_write_s(self) -> float:
        pairs = zip(self.confirmed_at, self.confirmed_at[1:], strict=False)
        return max((after - before for before, after in pairs), default=0.0)


async def kill_leaders(
    folder: Path, kills: int, say: Callable[[str], None], *, tasks_a_kill: int = BATCH
) -> dict[str, Any]:
    """Kill the leaders of LATER, LEDGER, TASKS and KEYS in turn, `kills` times; returns the figures."""
    began = time.monotonic()
    subjects, book, gaps, victims = Subjects(FLEET), Book(), Gaps(), Counter[str]()
    streams = _streams(subjects)
    with Nursery() as nursery:
        async with running_cluster(folder) as cluster, Background() as background:
            async with await Connection.open(cluster.settings, "proof probe") as probe:
                fleet = Fleet(nursery, folder, BOUNDS, is_default=False, servers=cluster.settings)
                try:
                    await fleet.start_parts()
                    await cluster.until_complete(probe, streams)
                    for part in fleet.all_parts:
                        background.spawn(part.keep_alive())
                    probe.on_link(gaps.link)
                    background.spawn(_probe(probe, subjects, gaps))
                    async with Client(settings=cluster.settings, fleet=FLEET, keep_trying_s=60.0) as client:
                        work = TimedWork(client, book)
                        await work.begin()
                        background.spawn(work.watch_fires())
                        for number in range(kills):
                            payloads = [_payload(number * tasks_a_kill + n) for n in range(tasks_a_kill)]
                            await work.delay(f"before-{number}")
                            sending = background.spawn(submit_all(client, book, "cluster", payloads))
                            stream = streams[number % len(streams)]
                            victim = await _kill_leader(cluster, probe, stream)
                            died_at = time.time()
                            claiming = background.spawn(work.claim(f"unique-{number}"))
                            victims[stream] += 1
                            await pass_time(DOWN_S)
                            await cluster.nodes[victim].start()
                            await cluster.until_complete(probe, streams)
                            work.timed.outages.append((died_at, time.time()))
                            await asyncio.gather(sending, claiming)
                            say(f"leader kill {number + 1}/{kills}: {victim}, {stream}")
                        deadline = time.time() + TERMINAL_WITHIN_S
                        await work.end(deadline)
                        waiting = await until_settled(client, book, deadline)
                    executions = fleet.executions()
                finally:
                    fleet.end_parts()
            await background.end()
    verdict = judge(book, executions, waiting)
    timed = judge_timed(work.timed, book, executions)
    restarts = [line for part in fleet.all_parts for line in part.ended_by_itself]
    return {
        "leader_kills": victims.total(),
        "leader_kills_by_stream": dict(victims),
        "tasks": verdict.tasks,
        "lost": len(verdict.lost),
        "recorded_twice": len(verdict.recorded_twice),
        "not_terminal": len(verdict.not_terminal),
        "run_to_the_end_again": verdict.run_again,
        **timed.figures(),
        "asked_again": dict(work.timed.asked_again),
        "worst_write_gap_s": round(gaps.worst_write_s, 2),
        "worst_reconnect_s": round(max(gaps.away_s, default=0.0), 2),
        "reconnects": len(gaps.away_s),
        "failures": verdict.all_faults() + timed.all_faults() + restarts,
        "took_s": round(time.monotonic() - began, 1),
    }


def _streams(subjects: Subjects) -> list[str]:
    """Whose leaders die, in this order."""
    return [subjects.later_stream, subjects.ledger_stream, subjects.tasks_stream, subjects.keys_stream]


def _payload(number: int) -> dict[str, Any]:
    return {"number": number, "seconds": 0.1 + 0.05 * (number % 8), "fails": 0}


async def _kill_leader(cluster: Cluster, connection: Connection, stream: str) -> str:
    """Kill it while work is under way; returns its name."""
    async with asyncio.timeout(STEADY_WITHIN_S):
        while not (name := await cluster.leader(connection, stream)):
            await pass_time(0.05)
    await pass_time(0.3)
    cluster.nodes[name].kill()
    return name


async def _probe(connection: Connection, subjects: Subjects, gaps: Gaps) -> None:
    """Write control entries, which every fold passes over, for as long as it is let."""
    appender = Appender(connection, timeout_s=1.0)
    await appender.start()
    async with Background() as background:
        background.spawn(appender.run())
        while True:
            try:
                await appender.append(subjects.control("probe"), dump({"type": "audit"}))
            except OutriderError:
                await pass_time(PROBE_EVERY_S)
                continue
            gaps.confirmed_at.append(time.monotonic())
            await pass_time(PROBE_EVERY_S)
