"""Partial output while NATS goes away and comes back: whole, in order, each piece once."""

from __future__ import annotations

import asyncio

import pytest

from outrider.agents import Agent, Task
from outrider.broker.config import NatsSettings
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.support.waiting import eventually


async def test_a_server_crash_in_the_middle_loses_doubles_and_reorders_nothing(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, server: PrivateServer
) -> None:
    agent, half, go = Agent("a1"), asyncio.Event(), asyncio.Event()

    @agent.handles("talk")
    async def talk(task: Task) -> None:
        for n in range(3000):
            await task.emit(f"{n} ")
            if n % 10 == 0:
                await asyncio.wait({asyncio.ensure_future(go.wait())}, timeout=0.001)
            if n == 1500:
                half.set()

    async with serving(agent, settings, subjects):
        await part.give("a1", "talk")
        await half.wait()
        server.kill()
        await server.start()
        go.set()

        async def is_back() -> bool:
            return part.connection.is_connected

        await eventually(is_back, 10, "the test is connected again")
        await part.outcome()
        chunks = await part.chunks()
    assert [c.offset for c in chunks] == list(range(len(chunks)))
    assert "".join(c.data for c in chunks) == "".join(f"{n} " for n in range(3000))


async def test_output_that_nobody_can_store_does_not_keep_the_outcome_back(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.agents.chunks.REFUSED_FOR_S", 0.3)
    agent = Agent("a1")

    @agent.handles("talk")
    async def talk(task: Task) -> str:
        await task.emit("into the void")
        return "done"

    await part.connection.api(f"STREAM.DELETE.{subjects.chunks_stream}")
    async with serving(agent, settings, subjects):
        await part.give("a1", "talk")
        assert await part.result() == "done"
