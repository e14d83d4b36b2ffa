"""Full streams on a real server: refused at once with a name, nothing lost, everything goes on with room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outrider.agents import Agent, Task
from outrider.broker.codec import encode, load
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import QueueFull, error_from_wire
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import Appender
from outrider.broker.states import TaskState
from outrider.broker.stream_limits import StreamLimits
from outrider.broker.subjects import Subjects
from outrider.cli.examination import stream_finding
from outrider.client import Client, NewTask, PartlySubmitted
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.shell import serve
from tests.integration.agents.counterpart import serving
from tests.integration.orchestrator.conftest import Fleet
from tests.support.thresholds import QUICK
from tests.support.waiting import eventually

MIB = 1024 * 1024
AT_ONCE_S = 0.05


class SmallFleet(Fleet):
    """An orchestrator whose streams are as small as a test wants."""

    async def start_small(self, bounds: StreamLimits, thresholds: Thresholds = QUICK) -> None:
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(
            serve(
                self.settings,
                self.subjects.fleet,
                stop,
                lambda _: ready.set(),
                thresholds,
                bounds=bounds,
            )
        )
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert ready.is_set(), running
        self._orchestrators.append((stop, running))

    async def messages(self, stream: str) -> int:
        return int((await self.connection.api(f"STREAM.INFO.{stream}"))["state"]["messages"])

    async def resize(self, stream: str, **config: int) -> None:
        found = (await self.connection.api(f"STREAM.INFO.{stream}"))["config"]
        await self.connection.api(f"STREAM.UPDATE.{stream}", found | config)


@pytest.fixture
async def fleet(
    settings: NatsSettings, connection: Connection, subjects: Subjects
) -> AsyncIterator[SmallFleet]:
    running = SmallFleet(settings, connection, subjects)
    yield running
    await running.stop()


async def request(fleet: Fleet, body: dict[str, Any]) -> tuple[Any, float]:
    """The answer to `submit` and how long it took."""
    began_at = time.perf_counter()
    answer = await fleet.connection.request(fleet.subjects.submit, json.dumps(body).encode(), 5)
    return load(answer.data), time.perf_counter() - began_at


async def test_a_full_queue_refuses_at_once_with_a_name_and_a_hint(fleet: SmallFleet) -> None:
    await fleet.start_small(StreamLimits(tasks_messages=3))
    await fleet.agent("a1", kinds=("echo",))
    stream, waits = fleet.subjects.tasks_stream, {"requires": ["nobody"]}
    async with Client(settings=fleet.settings, fleet=fleet.subjects.fleet) as client:
        await client.submit_many([NewTask("echo", n, requires=["nobody"]) for n in range(3)])
        took = []
        for _ in range(5):
            began_at = time.perf_counter()
            with pytest.raises(QueueFull) as refused:
                await client.submit("echo", "x", requires=["nobody"])
            took.append(time.perf_counter() - began_at)
        assert min(took) < AT_ONCE_S
        assert "try again in a few seconds" in refused.value.hint
        assert refused.value.retry_after_s > 0
        with pytest.raises(PartlySubmitted) as partly:
            await client.submit_many([NewTask("echo", n) for n in range(5)])
        assert len(partly.value.errors) == 5
        answers = [await request(fleet, {"kind": "echo"} | waits) for _ in range(5)]
        assert min(took for _, took in answers) < AT_ONCE_S
        error = error_from_wire(answers[0][0])
        assert isinstance(error, QueueFull)
        assert error.hint
        assert await fleet.messages(stream) == 3


@pytest.fixture
async def nearly_full(fleet: SmallFleet) -> AsyncIterator[tuple[SmallFleet, Client, asyncio.Event]]:
    """A ledger of 1 MiB over 80 % full, an agent that holds one attempt, and a client."""
    quick = Thresholds(heartbeat_s=1.0, pulse_every_s=0.2, owner_silent_s=1.0, ledger_check_s=0.1)
    await fleet.start_small(StreamLimits(ledger_bytes=MIB, ledger_age_s=3600), quick)
    agent, gate = Agent("a1", slots=8), asyncio.Event()

    @agent.handles("echo")
    async def echo(task: Task) -> Any:
        await gate.wait()
        return task.payload

    async with (
        serving(agent, fleet.settings, fleet.subjects),
        Client(settings=fleet.settings, fleet=fleet.subjects.fleet) as client,
    ):
        yield fleet, client, gate


async def fill_ledger(fleet: Fleet, share: float) -> None:
    """Notes on agents, until the ledger is so full."""
    appender = Appender(fleet.connection)
    await appender.start()
    stream = fleet.subjects.ledger_stream
    while True:
        info = await fleet.connection.api(f"STREAM.INFO.{stream}")
        if info["state"]["bytes"] >= share * info["config"]["max_bytes"]:
            return
        await appender.append(fleet.subjects.control("filler"), b'"' + b"x" * 20_000 + b'"')


async def test_a_nearly_full_ledger_takes_nothing_new_and_every_result_of_what_runs(
    nearly_full: tuple[SmallFleet, Client, asyncio.Event],
) -> None:
    fleet, client, gate = nearly_full
    running = await client.submit("echo", "x" * 100_000)
    await fleet.story_when(running.task_id, lambda s: s.is_live)
    await fill_ledger(fleet, 0.81)

    async def refuses() -> bool:
        return (await client.stats()).refuses is not None

    await eventually(refuses, what="the orchestrator noticed")
    stats = await client.stats()
    assert stats.ledger_used is not None
    assert stats.ledger_used >= 0.8

    answer, took = await request(fleet, {"kind": "echo", "payload": 1})
    error = error_from_wire(answer)
    assert isinstance(error, QueueFull)
    assert "81% full" in error.message or "full" in error.message
    assert took < 1.0
    async with Client(settings=fleet.settings, fleet=fleet.subjects.fleet) as fresh:
        with pytest.raises(QueueFull, match="the ledger is"):
            await fresh.submit("echo", 1)
        with pytest.raises(QueueFull, match="the ledger is"):
            await fresh.submit_many([("echo", 1)])

    # Whoever publishes by himself fills TASKS, and nothing of it begins.
    envelope = TaskEnvelope("echo", 7, task_id="direct-1", submitted_at=1.0)
    await fleet.connection.publish(fleet.subjects.task("echo", 5, "direct-1"), encode(envelope))
    gate.set()
    assert await running.result(20) == "x" * 100_000
    assert (await fleet.ledger.story("direct-1")).expect == 0
    assert await fleet.messages(fleet.subjects.tasks_stream) == 1

    # Room comes: everything goes on.
    await fleet.resize(fleet.subjects.ledger_stream, max_bytes=8 * MIB)
    await fleet.ended("direct-1", TaskState.SUCCEEDED)
    answer, _ = await request(fleet, {"kind": "echo", "payload": 2})
    await fleet.ended(answer["task_id"])
    assert (await client.stats()).refuses is None


async def test_a_ledger_that_is_full_to_the_brim_loses_nothing(
    nearly_full: tuple[SmallFleet, Client, asyncio.Event],
) -> None:
    fleet, client, gate = nearly_full
    gate.set()
    await fill_ledger(fleet, 0.75)
    filler = asyncio.create_task(_brim(fleet))
    tasks = []
    for n in range(30):
        try:
            tasks.append(await client.submit("echo", "y" * 5_000, key=f"k{n}"))
        except QueueFull:
            break
    await filler
    await fleet.resize(fleet.subjects.ledger_stream, max_bytes=64 * MIB)
    assert [len(await task.result(60)) for task in tasks] == [5_000] * len(tasks)
    assert tasks


async def _brim(fleet: Fleet) -> None:
    appender = Appender(fleet.connection)
    await appender.start()
    body = b'"' + b"x" * 4_000 + b'"'
    with contextlib.suppress(QueueFull):
        while await appender.append(fleet.subjects.control("filler"), body):
            pass


async def test_doctor_tells_how_full_streams_are_and_where_bounds_drift(fleet: SmallFleet) -> None:
    wanted = {"name": "S", "max_bytes": 1000, "max_age": 60}
    config = {"max_bytes": 1000, "max_age": 60, "discard": "new"}
    found: dict[str, Any] = {"config": config, "state": {"messages": 3, "bytes": 300}}
    assert stream_finding(wanted, found)["status"] == "ok"
    assert "30% of its bound" in stream_finding(wanted, found)["detail"]
    found["state"]["bytes"] = 800
    assert stream_finding(wanted, found)["status"] == "wrong"
    found["state"]["bytes"] = 300
    config["max_age"] = 30
    drifted = stream_finding(wanted, found)
    assert drifted["status"] == "warning"
    assert "max_age is 30, the settings say 60" in drifted["detail"]
    assert "nats stream edit" in drifted["fix"]


async def test_settings_are_the_bounds_of_streams_that_are_made(fleet: SmallFleet) -> None:
    env = {
        "OUTRIDER_LEDGER_AGE_S": "7200",
        "OUTRIDER_CHUNKS_AGE_S": "60",
        "OUTRIDER_TASKS_MESSAGES": "10",
        "OUTRIDER_PAYLOADS_BYTES": str(64 * MIB),
    }
    await fleet.start_small(StreamLimits.from_environment(env))
    second = 1_000_000_000
    s = fleet.subjects
    for stream, name, value in (
        (s.ledger_stream, "max_age", 7200 * second),
        (s.objects_stream, "max_age", 14_400 * second),
        (s.objects_stream, "max_bytes", 64 * MIB),
        (s.chunks_stream, "max_age", 60 * second),
        (s.tasks_stream, "max_msgs", 10),
    ):
        assert (await fleet.connection.api(f"STREAM.INFO.{stream}"))["config"][name] == value


async def test_a_publisher_waits_instead_of_growing_while_the_server_is_silent(
    server: Any, settings: NatsSettings
) -> None:
    async with await Connection.open(settings, "publisher") as connection:
        appender = Appender(connection, window=8, timeout_s=30)
        await appender.start()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            sending = [asyncio.create_task(appender.append("nowhere.x", b"x")) for _ in range(50)]

            async def is_full() -> bool:
                return appender.pending == 8

            await eventually(is_full, what="a full window")
            assert not any(task.done() for task in sending)
            assert appender.pending == 8
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await asyncio.gather(*sending, return_exceptions=True)
