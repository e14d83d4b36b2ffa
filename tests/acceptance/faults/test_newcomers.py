"""A kind that an agent declared a moment ago is known, whichever of several orchestrators is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outrider.broker.codec import encode, load
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import UnknownKind, error_from_wire
from outrider.broker.messages import TaskEnvelope
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import Subjects
from outrider.client import Client
from tests.support.processes import Process
from tests.support.scripted_agent import ScriptedAgent
from tests.support.waiting import eventually

SUBJECTS = Subjects("outrider")
NEWCOMERS, AT_ONCE = 5, 8


@pytest.fixture
async def two(server: PrivateServer) -> AsyncIterator[NatsSettings]:
    """Two orchestrators that have heard of each other."""
    env = {"NATS_URL": server.url}
    async with Process("orchestrator", env=env), Process("orchestrator", env=env):
        settings = NatsSettings(url=server.url, source="test")
        async with await Connection.open(settings, "test") as connection:
            await until_both_pulse(connection)
        yield settings


async def until_both_pulse(connection: Connection) -> None:
    heard: set[str] = set()

    async def pulse(message: Any) -> None:
        heard.add(message.subject)

    subscription = await connection.subscribe(SUBJECTS.all_pulses, pulse)

    async def are_both() -> bool:
        return len(heard) >= 2

    await eventually(are_both, what="two pulses")
    await connection.unsubscribe(subscription)


async def submit(connection: Connection, kind: str) -> None:
    """Raises what it is refused with."""
    answer = await connection.request(SUBJECTS.submit, encode(TaskEnvelope(kind, 1)), 10.0)
    error = error_from_wire(load(answer.data))
    if error is not None:
        raise error


async def test_a_kind_is_known_everywhere_as_soon_as_its_first_agent_was_let_in(two: NatsSettings) -> None:
    async with await Connection.open(two, "test") as connection:
        for number in range(NEWCOMERS):
            kind = f"new-{number}"
            agent = ScriptedAgent(connection, SUBJECTS, f"a-{number}")
            agent.kinds = (kind,)
            await agent.start()
            await asyncio.gather(*(submit(connection, kind) for _ in range(AT_ONCE)))


async def test_a_client_submits_to_a_kind_as_soon_as_its_first_agent_was_let_in(two: NatsSettings) -> None:
    async with await Connection.open(two, "test") as connection:
        for number in range(NEWCOMERS):
            async with Client(settings=two) as client:
                agent = ScriptedAgent(connection, SUBJECTS, f"a-{number}")
                agent.kinds = (f"new-{number}",)
                await agent.start()
                await client.submit(f"new-{number}", 1)


async def test_a_kind_that_nobody_declared_is_refused_after_a_moment(two: NatsSettings) -> None:
    async with await Connection.open(two, "test") as connection:
        with pytest.raises(UnknownKind):
            await submit(connection, "never")
    async with Client(settings=two) as client:
        with pytest.raises(UnknownKind):
            await client.submit("never", 1)
