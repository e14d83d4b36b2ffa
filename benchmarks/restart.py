"""How soon an orchestrator that restarts with a long past assigns its first task, and in how much memory.

Once it folds the whole ledger, once it begins with a snapshot; beside it, what the start of the other parts
that read the ledger costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.past import make_past
from benchmarks.processes import Parts, cpu_s, resident_mb
from outrider.broker.codec import load
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import Subjects
from outrider.ledger.archive import Archive
from outrider.ledger.state import LedgerState
from outrider.orchestrator.snapshot_writer import write_snapshot

WITHIN_S = 900.0
NO_SNAPSHOTS = {"OUTRIDER_SNAPSHOT_EVERY": "1000000000"}


@dataclass(slots=True)
class Restarts:
    """One fleet with a long past whose orchestrator starts again and again."""

    url: str
    connection: Connection
    subjects: Subjects

    async def first_assignment(self) -> dict[str, float]:
        """Start the parts with one agent; returns seconds from the orchestrator's start, and its memory."""
        assigned = asyncio.Event()

        async def heard(message: Any) -> None:
            if load(message.data).get("type") == "assigned":
                assigned.set()

        subscription = await self.connection.subscribe(f"{self.subjects.fleet}.live.*.orchestrator.*", heard)
        async with Parts(self.url, self.subjects.fleet, NO_SNAPSHOTS) as parts:
            agent = asyncio.create_task(
                parts.start(
                    "agent", "agent", "--kinds", "echo", "--name", "fresh", "--slots", "16", within_s=WITHIN_S
                )
            )
            began = time.perf_counter()
            ready = asyncio.create_task(parts.start("orchestrator", "orchestrator", within_s=WITHIN_S))
            await asyncio.wait_for(assigned.wait(), WITHIN_S)
            took_s = time.perf_counter() - began
            await ready
            pid = parts.pids()["orchestrator"]
            used = {"cpu_s": round(cpu_s(pid), 1), "memory_mb": round(peak_resident_mb(pid), 1)}
            await agent
        await self.connection.unsubscribe(subscription)
        return {"first_assignment_s": round(took_s, 2), **used}

    async def write_snapshot(self, seq: int) -> dict[str, Any]:
        """Write a snapshot as an orchestrator's child does; returns what it cost and what it holds."""
        began, began_cpu_s = time.perf_counter(), time.process_time()
        if not await write_snapshot(self.connection, self.subjects, seq):
            raise RuntimeError("no snapshot was written")
        took_s, took_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu_s
        info = await self.connection.api(f"STREAM.INFO.OBJ_{self.subjects.snapshots_bucket}")
        state = LedgerState(await Archive(self.connection, self.subjects).newest())
        cost = {"seconds": round(took_s, 1), "cpu_s": round(took_cpu_s, 1)}
        return cost | {
            "at": seq,
            "bytes": int(info["state"]["bytes"]),
            "hash": state.digest,
            **state.counts(),
        }

    async def forget_snapshots(self) -> None:
        await self.connection.api(f"STREAM.DELETE.OBJ_{self.subjects.snapshots_bucket}")

    async def start_of(self, *arguments: str) -> dict[str, float]:
        """CPU and memory of a part that reads the ledger, once it has read what it wants."""
        async with Parts(self.url, self.subjects.fleet) as parts:
            await parts.start("part", *arguments)
            pid, before_s, now_s = parts.pids()["part"], -1.0, 0.0
            while now_s - before_s > 0.2:
                await asyncio.sleep(1.0)
                before_s, now_s = now_s, cpu_s(pid)
            return {"cpu_s": round(now_s, 1), "memory_mb": round(resident_mb(pid), 1)}


def peak_resident_mb(pid: int) -> float:
    """The most resident memory that a process has had so far, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


async def measure(entries: int, queued: int, every: int) -> dict[str, Any]:
    """Make the past, and restart in it with a snapshot and without."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(PrivateServer())
        settings = NatsSettings(url=server.url, source="benchmark")
        connection = await stack.enter_async_context(await Connection.open(settings, "restart"))
        subjects = Subjects("restart")
        began = time.perf_counter()
        last_seq = await make_past(connection, subjects, entries, queued)
        report: dict[str, Any] = {
            "entries": last_seq,
            "queued": queued,
            "made_in_s": round(time.perf_counter() - began, 1),
        }
        fleet = Restarts(server.url, connection, subjects)
        # The worst moment: the next snapshot was about to be written.
        report["snapshot"] = await fleet.write_snapshot((last_seq // every - 1) * every)
        report["with_snapshot"] = await fleet.first_assignment()
        report["router"] = await fleet.start_of("router")
        report["bridge"] = await fleet.start_of("ui", "--port", "0")
        note(report)
        await fleet.forget_snapshots()
        report["without_snapshot"] = await fleet.first_assignment()
    return report


def note(report: dict[str, Any]) -> None:
    """What is known so far, for whoever waits."""
    print(json.dumps(report), file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="restart an orchestrator with a long past")
    parser.add_argument("--entries", type=int, default=1_000_000, help="ledger entries")
    parser.add_argument("--queued", type=int, default=100_000, help="waiting tasks")
    parser.add_argument("--every", type=int, default=50_000, help="entries from one snapshot to the next")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    report = asyncio.run(measure(options.entries, options.queued, options.every))
    print(json.dumps(report, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
