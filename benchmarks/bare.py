"""The reference: the shortest durable path of a task over JetStream, with no feature at all.

client -> TASKS (work queue) -> orchestrator -> agent -> RESULTS -> orchestrator -> acks, done. Nothing is
validated, routed or retried. Knows nothing of Outrider; three processes, as few messages as possible.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Any

import nats
from nats.aio.client import Client

ROOT = Path(__file__).resolve().parent.parent
WINDOW = 256
BATCH = 256
AGENTS = 2


@dataclass(frozen=True, slots=True)
class BareResult:
    """Full-load rate and low-load latency of one run."""

    tasks_per_s: float
    p50_ms: float
    p99_ms: float


class Confirmed:
    """JetStream publishes with at most WINDOW unconfirmed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._room = asyncio.Semaphore(WINDOW)
        self._inbox = client.new_inbox()
        self._count = 0

    async def start(self) -> None:
        await subscribe(self._client, self._inbox + ".*", self._confirmed)

    async def _confirmed(self, message: Any) -> None:
        if b'"error"' in message.data:
            raise RuntimeError(message.data)
        self._room.release()

    async def publish(self, subject: str, data: bytes) -> None:
        await self._room.acquire()
        self._count += 1
        await self._client.publish(subject, data, f"{self._inbox}.{self._count}")


async def subscribe(client: Client, subject: str, callback: Callable[[Any], Awaitable[None]]) -> None:
    await client.subscribe(subject, cb=callback, pending_msgs_limit=0, pending_bytes_limit=0)


async def pull(client: Client, stream: str, callback: Callable[[Any], Awaitable[None]]) -> None:
    """Keep two pull requests of BATCH open for ever."""
    inbox = client.new_inbox()
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.bare"
    request = json.dumps({"batch": BATCH, "expires": 3600 * 10**9}).encode()
    left = 2 * BATCH

    async def received(message: Any) -> None:
        nonlocal left
        if not message.reply.startswith("$JS.ACK"):
            return
        await callback(message)
        left -= 1
        if left <= BATCH:
            left += BATCH
            await client.publish(subject, request, inbox)

    await subscribe(client, inbox, received)
    for _ in range(2):
        await client.publish(subject, request, inbox)


async def make_streams(url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    for name, subject, retention in (
        ("TASKS", "bare.task.>", "workqueue"),
        ("RESULTS", "bare.result.>", "limits"),
    ):
        await stream.add_stream(name=name, subjects=[subject], retention=retention, storage="file")
        config = {"durable_name": "bare", "ack_policy": "explicit", "max_ack_pending": 50_000}
        body = json.dumps({"stream_name": name, "config": config}).encode()
        await client.request(f"$JS.API.CONSUMER.DURABLE.CREATE.{name}.bare", body)
    await client.close()


async def agents(url: str) -> None:
    """Each agent answers at once with a durable result."""
    for number in range(AGENTS):
        client = await nats.connect(url)
        confirmed = Confirmed(client)
        await confirmed.start()

        async def work(message: Any, confirmed: Confirmed = confirmed) -> None:
            await confirmed.publish("bare.result." + message.data[:12].decode().strip(), message.data)

        await subscribe(client, f"bare.agent.{number}", work)
        await client.flush()
        await client.flush()
    say("ready")
    await asyncio.Event().wait()


async def orchestrator(url: str) -> None:
    """Hand each task to the next agent; ack it when its result is there; report each end."""
    client = await nats.connect(url)
    waiting: dict[bytes, str] = {}
    turn = 0

    async def on_task(message: Any) -> None:
        nonlocal turn
        waiting[message.data[:12]] = message.reply
        turn = (turn + 1) % AGENTS
        await client.publish(f"bare.agent.{turn}", message.data)

    async def on_result(message: Any) -> None:
        await client.publish(message.reply, b"+ACK")
        await client.publish(waiting.pop(message.data[:12]), b"+ACK")
        await client.publish("bare.done", message.data[:12])

    await pull(client, "TASKS", on_task)
    await pull(client, "RESULTS", on_result)
    await client.flush()
    say("ready")
    await asyncio.Event().wait()


def say(word: str) -> None:
    print(word, flush=True)


async def drive(url: str, tasks: int, low_tasks: int, low_rate: float) -> BareResult:
    """Warm up, low load at a fixed rate, then full load."""
    client = await nats.connect(url)
    confirmed = Confirmed(client)
    await confirmed.start()
    sent: dict[bytes, int] = {}
    took: list[float] = []
    done = asyncio.Event()

    async def on_done(message: Any) -> None:
        took.append((monotonic_ns() - sent.pop(message.data)) / 1e6)
        if not sent:
            done.set()

    await subscribe(client, "bare.done", on_done)
    await client.flush()
    await client.flush()

    async def phase(letter: str, count: int, rate: float) -> tuple[float, list[float]]:
        took.clear()
        done.clear()
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(count):
            if rate:
                await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
            name = f"{letter}{number}".ljust(12).encode()
            sent[name] = monotonic_ns()
            await confirmed.publish(f"bare.task.{letter}{number}", name + b"x" * 188)
        await asyncio.wait_for(done.wait(), 120)
        return count / (loop.time() - start), sorted(took)

    await phase("w", 500, 0)
    _, low = await phase("l", low_tasks, low_rate)
    rate, _ = await phase("f", tasks, 0)
    await client.close()
    return BareResult(rate, low[len(low) // 2], low[min(len(low) - 1, int(0.99 * len(low)))])


async def measure_bare(url: str, tasks: int, low_tasks: int, low_rate: float) -> BareResult:
    """One run on the server at `url`, with orchestrator and agents as processes of their own."""
    await make_streams(url)
    children = []
    try:
        for role in ("agents", "orchestrator"):
            command = [sys.executable, "-m", "benchmarks.bare", role, url]
            child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=ROOT)
            children.append(child)
            if child.stdout is None or (await child.stdout.readline()).strip() != b"ready":
                raise RuntimeError(f"the bare {role} did not start")
        return await drive(url, tasks, low_tasks, low_rate)
    finally:
        for child in children:
            child.kill()
            await child.wait()


if __name__ == "__main__":
    asyncio.run({"agents": agents, "orchestrator": orchestrator}[sys.argv[1]](sys.argv[2]))
