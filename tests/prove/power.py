"""The machine of nats-server loses power amid work: with `sync_interval: always`, and with the default.

The default is the control: a proof in which nothing can be lost would prove nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.broker.background import Background
from outrider.broker.config import NatsSettings
from outrider.broker.follower import StreamReader
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import parse_ledger, parse_task
from outrider.client import Client
from tests.prove.book import Book
from tests.prove.disk import Disk, NoDisk
from tests.prove.fleet import FLEET, Fleet
from tests.prove.nursery import Nursery
from tests.prove.passing import pass_time
from tests.prove.verdict import judge
from tests.prove.work import TERMINAL_WITHIN_S, submit_all, until_settled

TASKS = 200
SERVER = "jetstream {{ max_file: 100GB, sync_interval: {sync} }}\n"


@dataclass(slots=True)
class Cut:
    """What one power cut cost."""

    accepted: int = 0
    forgotten: int = 0
    """Accepted tasks of which neither TASKS nor LEDGER knew anything when the power was back."""
    faults: list[str] = field(default_factory=list)


async def cut_power(folder: Path, cuts: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """So many cuts with `always`, one with the default; returns the figures, or why there are none."""
    began = time.monotonic()
    dice = random.Random(f"power {seed}")
    safe: list[Cut] = []
    try:
        with Nursery() as nursery:
            for number in range(cuts):
                own = folder / f"always-{number}"
                safe.append(await _cut(own, nursery, "always", dice.uniform(0.2, 2.5)))
                say(f"power cut {number + 1}/{cuts}: {safe[-1].accepted} accepted, lost {safe[-1].forgotten}")
            control = await _cut(folder / "default", nursery, "2m", 1.0)
            say(f"control: {control.accepted} accepted, lost {control.forgotten}")
    except NoDisk as why:
        say(f"the power cut is skipped: {why}")
        return {"skipped": str(why), "failures": []}
    faults = [line for cut in safe for line in cut.faults]
    if not control.forgotten:
        faults.append("the control lost nothing: this proof cannot fail here")
    return {
        "cuts": len(safe),
        "accepted": sum(cut.accepted for cut in safe),
        "lost": sum(cut.forgotten for cut in safe),
        "default_accepted": control.accepted,
        "default_lost": control.forgotten,
        "failures": faults,
        "took_s": round(time.monotonic() - began, 1),
    }


async def _cut(folder: Path, nursery: Nursery, sync: str, after_s: float) -> Cut:
    folder.mkdir()
    disk = Disk(folder / "image", folder / "disk")
    disk.make()
    try:
        return await _cut_on(disk, folder, nursery, sync, after_s)
    finally:
        disk.unmount()


async def _cut_on(disk: Disk, folder: Path, nursery: Nursery, sync: str, after_s: float) -> Cut:
    config = folder / "server.conf"
    config.write_text(SERVER.format(sync=sync))
    server = PrivateServer(store=disk.folder / "store", config=config)
    await server.start()
    settings = NatsSettings(url=server.url, source="proof")
    fleet = Fleet(nursery, folder, is_default=False, servers=settings)
    cut, book = Cut(), Book()
    try:
        await fleet.start_parts()
        async with Client(settings=settings, fleet=FLEET, keep_trying_s=60.0) as client, Background() as work:
            sending = [work.spawn(submit_all(client, book, f"power-{n}", _payloads(n))) for n in range(10)]
            await asyncio.wait(sending)
            await pass_time(after_s)
            cut.accepted = len(book.accepted)
            if sync != "always":
                fleet.end_parts()
            server.kill()
            disk.lose_power()
            await server.start()
            cut.forgotten = len(book.accepted.keys() - await _known(client))
            if sync == "always":
                waiting = await until_settled(client, book, time.time() + TERMINAL_WITHIN_S)
                cut.faults = judge(book, fleet.executions(), waiting).all_faults()
    finally:
        fleet.end_parts()
        server.kill()
        await server.stop()
    return cut


def _payloads(batch: int) -> list[dict[str, Any]]:
    size = TASKS // 10
    return [{"number": n, "seconds": 0.02 * ((batch + n) % 20), "fails": 0} for n in range(size)]


async def _known(client: Client) -> set[str]:
    """The tasks that the streams know, read as soon as they can be read."""
    subjects = client.subjects
    while not client.connection.is_connected:
        await pass_time(0.05)
    found = set()
    for stored in await _everything(client, subjects.tasks_stream, subjects.all_tasks):
        found.add(parse_task(stored)[2])
    for stored in await _everything(client, subjects.ledger_stream, subjects.all_ledger):
        found.add(parse_ledger(stored).task_id)
    return found


async def _everything(client: Client, stream: str, subject: str) -> list[str]:
    """The subjects of all messages; none when even the stream is gone."""
    names = (await client.connection.api("STREAM.NAMES"))["streams"] or []
    if stream not in names:
        return []
    return [stored.subject for stored in await StreamReader(client.connection, stream).all_of(subject)]
