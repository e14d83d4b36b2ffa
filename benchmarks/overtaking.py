"""How soon late urgent tasks are assigned while a long queue waits and every slot is busy.

Counted from LEDGER: how many of the tasks that waited before were assigned after an urgent one was accepted
and before it was assigned itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.past import Message, write
from benchmarks.processes import Parts
from outrider.broker.codec import encode, load
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.messages import TaskEnvelope
from outrider.broker.server import PrivateServer
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.client import Client

SLOTS = 16
SERVICE_S = 0.1
PAUSE_S = 0.2
WITHIN_S = 60.0


def waiting(subjects: Subjects, tasks: int) -> Iterator[Message]:
    for number in range(tasks):
        task_id = f"queued-{number:08d}"
        envelope = TaskEnvelope("sleep", {"seconds": SERVICE_S}, task_id, 5, submitted_at=time.time())
        yield subjects.task("sleep", 5, task_id), encode(envelope)


class Assignments:
    """The tasks that were assigned, in the order of LEDGER, and when this process heard of it."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.heard_at: dict[str, float] = {}
        self._news = asyncio.Condition()

    async def heard(self, message: Any) -> None:
        entry = load(message.data)
        if entry.get("type") == "assigned" and entry.get("attempt") == 1:
            async with self._news:
                self.order.append(entry["task_id"])
                self.heard_at[entry["task_id"]] = time.perf_counter()
                self._news.notify_all()

    async def until(self, task_id: str) -> None:
        async with asyncio.timeout(WITHIN_S), self._news:
            await self._news.wait_for(lambda: task_id in self.heard_at)

    async def until_many(self, count: int) -> None:
        async with asyncio.timeout(WITHIN_S), self._news:
            await self._news.wait_for(lambda: len(self.order) >= count)


async def _late_ones(client: Client, assigned: Assignments, count: int) -> list[dict[str, float]]:
    """Submit urgent tasks one after the other; for each, what went first and how long it took."""
    found = []
    for _ in range(count):
        task = await client.submit("sleep", {"seconds": SERVICE_S}, priority=0)
        accepted_at, before = time.perf_counter(), len(assigned.order)
        await assigned.until(task.task_id)
        ahead = max(0, assigned.order.index(task.task_id) - before)
        took_s = max(0.0, assigned.heard_at[task.task_id] - accepted_at)
        found.append({"ahead": ahead, "seconds": round(took_s, 4)})
        await asyncio.sleep(PAUSE_S)
    return found


async def measure(queued: int, late: int) -> dict[str, Any]:
    """Make the queue, start the parts, and let urgent tasks come."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(PrivateServer())
        settings = NatsSettings(url=server.url, source="benchmark")
        connection = await stack.enter_async_context(await Connection.open(settings, "overtaking"))
        subjects, assigned = Subjects("overtaking"), Assignments()
        await ensure_streams(connection, subjects)
        await write(connection, waiting(subjects, queued))
        await connection.subscribe(f"{subjects.fleet}.live.*.orchestrator.*", assigned.heard)
        parts = await stack.enter_async_context(Parts(server.url, subjects.fleet))
        await parts.start("orchestrator", "orchestrator")
        await parts.start("router", "router")
        await parts.start("agent", "agent", "--kinds", "sleep", "--name", "busy", "--slots", str(SLOTS))
        await assigned.until_many(2 * SLOTS)
        client = await stack.enter_async_context(Client(settings=settings, fleet=subjects.fleet))
        rows = await _late_ones(client, assigned, late)
        info = await connection.api(f"STREAM.INFO.{subjects.tasks_stream}")
    seconds = sorted(row["seconds"] for row in rows)
    return {
        "queued": queued,
        "still_waiting": info["state"]["messages"],
        "late": late,
        "slots": SLOTS,
        "service_s": SERVICE_S,
        "most_assigned_before_it": max(row["ahead"] for row in rows),
        "median_s": seconds[len(seconds) // 2],
        "worst_s": seconds[-1],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="late priority 0 tasks overtake a long queue")
    parser.add_argument("--queued", type=int, default=100_000, help="waiting tasks of priority 5")
    parser.add_argument("--late", type=int, default=20, help="urgent tasks, one after the other")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    report = asyncio.run(measure(options.queued, options.late))
    print(json.dumps(report, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
