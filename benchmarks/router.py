"""How long the router takes: a decision in process, and a round trip over a real nats-server.

`python benchmarks/router.py [--json]`. In process means decode, route and encode, as the service does them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from outrider import router
from outrider.broker.codec import decode, encode
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent, RouteRequest, RouteTask
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import Subjects
from outrider.router.artifact import ModelStore
from outrider.router.config import RouterSettings
from outrider.router.predictor import Predictor
from outrider.router.routing import route
from outrider.router.statistics import Attempt, Statistics

KINDS = ("chat", "summarize", "classify")
SHAPES = {"1 x 10": (1, 10), "1 x 200": (1, 200), "64 x 2, alike": (64, 2), "64 x 200": (64, 200)}


def request_of(tasks: int, agents: int, alike: bool) -> bytes:
    draw = random.Random(tasks * agents)
    asked = []
    for number in range(tasks):
        chars = 300 if alike else draw.randint(50, 5000)
        facts = TaskFacts(chars + 40, chars, 1, 64 if alike else draw.choice([0, 64, 128]))
        asked.append(RouteTask(f"task-{number}", KINDS[0 if alike else number % 3], 5, 1, facts))
    slots = 64 if alike else 2
    known = [
        RouteAgent(f"agent-{n}", slots, draw.randint(0, 1), dict.fromkeys(KINDS, 1.0)) for n in range(agents)
    ]
    return encode(RouteRequest(tuple(asked), tuple(known)))


def learned() -> Statistics:
    """Two hundred agents, each seen five times at each kind."""
    draw, found = random.Random(1), Statistics()
    for number in range(200):
        for kind in KINDS:
            for _ in range(5):
                attempt = Attempt("t", f"agent-{number}", kind, TaskFacts(300, 260, 1, 64), 4, 0, 2.0, 1, 0.0)
                found.succeeded(attempt, draw.lognormvariate(0.5, 0.5), 3.0)
    return found


async def measure(once: Callable[[], Awaitable[None]], times: int) -> dict[str, float]:
    for _ in range(times // 10 + 3):
        await once()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await once()
        taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    p99 = taken[int(len(taken) * 0.99)]
    return {
        "p50_ms": round(statistics.median(taken), 3),
        "p99_ms": round(p99, 3),
        "best_ms": round(taken[0], 3),
    }


async def in_process(body: bytes, times: int) -> dict[str, float]:
    model = ModelStore(Path("no-state")).load(None)
    predictor, known, settings = Predictor(model.forest, model.version), learned(), RouterSettings()

    async def once() -> None:
        encode(route(decode(RouteRequest, body), known, predictor, settings, 100.0))

    return await measure(once, times)


async def round_trip(bodies: dict[str, bytes], times: int) -> dict[str, dict[str, float]]:
    stop, ready = asyncio.Event(), asyncio.Event()
    async with PrivateServer() as server, asyncio.TaskGroup() as group:
        settings, subjects = NatsSettings(url=server.url, source="benchmark"), Subjects("bench")
        state = Path(tempfile.mkdtemp(prefix="outrider-bench-"))
        group.create_task(
            router.serve(settings, "bench", state, "model", stop, lambda _: ready.set(), env={})
        )
        await ready.wait()
        found = {}
        async with await Connection.open(settings, "benchmark") as connection:
            for name, body in bodies.items():

                async def once(body: bytes = body) -> None:
                    await connection.request(subjects.route, body)

                found[name] = await measure(once, times if len(body) < 20_000 else times // 10)
        stop.set()
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=300)
    asked = parser.parse_args()
    bodies = {name: request_of(*shape, alike="alike" in name) for name, shape in SHAPES.items()}
    rows = {name: {"in_process": await in_process(body, asked.times)} for name, body in bodies.items()}
    for name, found in (await round_trip(bodies, asked.times)).items():
        rows[name]["round_trip"] = found
    if asked.json:
        print(json.dumps({"rows": rows}))
        return
    for name, row in rows.items():
        for where, found in row.items():
            print(f"{name:14} {where:11} " + "  ".join(f"{key} {value:8.3f}" for key, value in found.items()))


if __name__ == "__main__":
    asyncio.run(main())
