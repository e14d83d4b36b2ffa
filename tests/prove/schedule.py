"""Runs one kill schedule from its plan to its verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outrider.broker.background import Background
from outrider.broker.codec import load
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.subjects import Subjects
from outrider.client import Client
from outrider.ledger.entries import entry_from_map
from outrider.ledger.fold import Record
from tests.prove.blows import Blow, Striker
from tests.prove.book import Book
from tests.prove.by_bridge import submit_by_bridge
from tests.prove.fleet import FLEET, Fleet, running_fleet
from tests.prove.nursery import Nursery
from tests.prove.passing import pass_time
from tests.prove.plan import KIND, Plan
from tests.prove.verdict import Verdict, judge
from tests.prove.work import TERMINAL_WITHIN_S, submit_all, until_settled

BY_BRIDGE = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one schedule did and what became of it."""

    plan: Plan
    verdict: Verdict
    blows: tuple[Blow, ...]
    with_work: int
    """Blows that met work in hand, by the ledger and the handlers' notes."""
    restarts: tuple[str, ...]
    """Parts that ended by themselves and were started again."""
    settled_s: float
    """From the end of the last outage until everything was terminal and TASKS empty."""


async def run_schedule(plan: Plan, nursery: Nursery, folder: Path) -> Outcome:
    """One schedule on a fleet of its own."""
    async with running_fleet(nursery, folder, is_default=plan.is_default) as fleet, Background() as keeping:
        for part in fleet.all_parts:
            keeping.spawn(part.keep_alive())
        async with _client(fleet) as client, _live(fleet) as live:
            blows = await _blows_and_batches(plan, fleet, client, live)
            calm_since = time.time()
            for part in fleet.all_parts:
                part.is_down = False
            book = Book(dict(live.accepted))
            waiting = await until_settled(client, book, calm_since + TERMINAL_WITHIN_S)
            settled_s = time.time() - calm_since
        await keeping.end()
        executions = fleet.executions()
        verdict = judge(book, executions, waiting)
        if verdict.tasks != plan.tasks:
            verdict.problems.append(f"only {verdict.tasks} of {plan.tasks} tasks were accepted")
        restarts = tuple(line for part in fleet.all_parts for line in part.ended_by_itself)
        with_work = sum(blow.had_work(book, executions) for blow in blows)
        return Outcome(plan, verdict, tuple(blows), with_work, restarts, settled_s)


@asynccontextmanager
async def _client(fleet: Fleet) -> AsyncIterator[Client]:
    async with Client(settings=fleet.settings, fleet=FLEET, keep_trying_s=60.0) as client:
        while KIND not in await _kinds(client):
            await pass_time(0.02)
        yield client


async def _kinds(client: Client) -> tuple[str, ...]:
    with contextlib.suppress(OutriderError):
        return await client.kinds()
    return ()


@asynccontextmanager
async def _live(fleet: Fleet) -> AsyncIterator[Book]:
    """What the fleet tells to whoever listens, to choose good moments from; it may miss some."""
    book, subjects = Book(), Subjects(FLEET)

    async def heard(message: Any) -> None:
        entry = entry_from_map(load(message.data))
        book.add(Record(0, message.subject, entry, time.time()))

    async with await Connection.open(fleet.settings, "proof listener") as connection:
        await connection.subscribe(subjects.all_live, heard)
        await connection.settle()
        yield book


async def _blows_and_batches(plan: Plan, fleet: Fleet, client: Client, live: Book) -> list[Blow]:
    """Send a batch, strike, and so on; returns when all is sent and everybody stands again.

    Of each batch some go through the bridge, the others straight to NATS.
    """
    striker, label, bridge = Striker(fleet, live), str(plan.seed), fleet.parts["bridge"][0]
    async with asyncio.TaskGroup() as group:
        mending = []
        for number, batch in enumerate(plan.batches):
            group.create_task(submit_by_bridge(bridge, live, label, batch[:BY_BRIDGE]))
            group.create_task(submit_all(client, live, label, batch[BY_BRIDGE:]))
            if number < len(plan.faults):
                fault = plan.faults[number]
                mending.append(await striker.strike(fault))
                await pass_time(fault.gap_s)
        await asyncio.gather(*mending)
    return striker.blows
