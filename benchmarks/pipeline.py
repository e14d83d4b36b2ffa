"""End to end: a client submits, two echo agents work, the client knows each result; beside it the bare path.

Everything is durable (file storage, one server) and the real router is in the path. Each repetition measures
both on fresh servers, one after the other, and the ratio is taken within the repetition.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a file: its neighbours are found from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bare import measure_bare
from benchmarks.processes import Parts, cpu_s, resident_mb
from outrider.broker.config import NatsSettings
from outrider.broker.server import PrivateServer
from outrider.client import Client

SLOTS = 256
"""As many tasks on their way as the bare pipeline's workers pull at once."""
PAYLOAD = "x" * 150


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def warm_up(client: Client) -> None:
    for task in await client.submit_many(_task(n) for n in range(500)):
        await task.result()


def _task(number: int) -> tuple[str, Any]:
    return "echo", {"number": number, "text": PAYLOAD}


async def low_load(client: Client, tasks: int, rate: float) -> list[float]:
    """Milliseconds from submit to the result, at a fixed rate."""
    loop = asyncio.get_running_loop()
    took: list[float] = []

    async def one(number: int) -> None:
        start = loop.time()
        task = await client.submit(*_task(number))
        await task.result()
        took.append((loop.time() - start) * 1000)

    begin = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(tasks):
            await asyncio.sleep(max(0.0, begin + number / rate - loop.time()))
            group.create_task(one(number))
    return took


async def full_load(client: Client, tasks: int) -> float:
    """Tasks per second from the first submit until the client knows the last result."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    handles = await client.submit_many(_task(n) for n in range(tasks))
    results = [await task.result() for task in handles]
    took = loop.time() - start
    wrong = sum(result["number"] != number for number, result in enumerate(results))
    if wrong:
        raise RuntimeError(f"{wrong} of {tasks} results are not what was submitted")
    return tasks / took


async def measure_ours(url: str, server_pid: int, options: argparse.Namespace) -> dict[str, Any]:
    async with Parts(url) as parts:
        await parts.start("orchestrator", "orchestrator")
        await parts.start("router", "router")
        for name in ("echo-1", "echo-2"):
            await parts.start(name, "agent", "--kinds", "echo", "--name", name, "--slots", str(SLOTS))
        async with Client(settings=NatsSettings(url=url, source="benchmark")) as client:
            await warm_up(client)
            low = await low_load(client, options.low_tasks, options.low_rate)
            pids = parts.pids() | {"server": server_pid, "client": os.getpid()}
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            rate = await full_load(client, options.tasks)
            used = {name: (cpu_s(pid) - before[name]) / options.tasks * 1e6 for name, pid in pids.items()}
            memory = {name: round(resident_mb(pid)) for name, pid in pids.items()}
            reasons = (await client.stats()).counters
    return {
        "tasks_per_s": rate,
        "p50_ms": percentile(low, 0.5),
        "p99_ms": percentile(low, 0.99),
        "cpu_us_per_task": {name: round(us) for name, us in used.items()},
        "memory_mb": memory,
        "routed": {name: count for name, count in reasons.items() if name.startswith("routed_")},
    }


async def repetition(options: argparse.Namespace) -> dict[str, Any]:
    """Ours and the bare pipeline, each on a fresh server."""
    with tempfile.TemporaryDirectory() as folder:
        config = None
        if options.sync_always:
            config = Path(folder) / "nats.conf"
            config.write_text("jetstream { sync_interval: always }\n")
        async with PrivateServer(config=config) as server:
            ours = await measure_ours(server.url, server.pid, options)
        async with PrivateServer(config=config) as server:
            bare = await measure_bare(server.url, options.tasks, options.low_tasks, options.low_rate)
    ours |= {"bare_tasks_per_s": bare.tasks_per_s, "bare_p50_ms": bare.p50_ms, "bare_p99_ms": bare.p99_ms}
    ours["ratio"] = ours["tasks_per_s"] / bare.tasks_per_s
    return ours


def summary(runs: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Medians over the repetitions; `runs` keeps each."""
    names = ("tasks_per_s", "bare_tasks_per_s", "ratio", "p50_ms", "p99_ms", "bare_p50_ms", "bare_p99_ms")
    medians = {name: round(median(run[name] for run in runs), 3) for name in names}
    parts = runs[0]["cpu_us_per_task"]
    cpu = {name: round(median(run["cpu_us_per_task"][name] for run in runs)) for name in parts}
    return medians | {
        "cpu_us_per_task": cpu,
        "memory_mb": runs[-1]["memory_mb"],
        "routed": runs[-1]["routed"],
        "tasks": options.tasks,
        "repeat": options.repeat,
        "sync": "always" if options.sync_always else "default",
        "cpus": os.cpu_count(),
        "runs": [{name: round(run[name], 3) for name in names} for run in runs],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python -m benchmarks.pipeline --json"
    )
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks of the full-load phase")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--low-tasks", type=int, default=500)
    parser.add_argument("--low-rate", type=float, default=100.0, help="tasks a second in the low-load phase")
    parser.add_argument("--sync-always", action="store_true", help="fsync each write before its confirmation")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    runs = []
    for number in range(options.repeat):
        runs.append(asyncio.run(repetition(options)))
        run = runs[-1]
        print(
            f"run {number + 1}: {run['tasks_per_s']:.0f} tasks/s, bare {run['bare_tasks_per_s']:.0f}, "
            f"ratio {run['ratio']:.3f}, p50 {run['p50_ms']:.2f} ms, p99 {run['p99_ms']:.2f} ms",
            file=sys.stderr,
        )
    result = summary(runs, options)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
