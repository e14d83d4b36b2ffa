"""A kind that an agent declared a moment ago is known, whichever of several orchestrators is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from outrider.broker.codec import encode
from outrider.broker.errors import UnknownKind
from outrider.broker.messages import TaskEnvelope
from outrider.client import Client
from tests.integration.orchestrator.conftest import Fleet
from tests.support.thresholds import QUICK
from tests.support.waiting import eventually

PATIENT = replace(QUICK, pulse_every_s=60.0, owner_silent_s=600.0, kind_wait_s=60.0)
"""So long that a slow machine refuses nothing that it was about to hear of."""
AT_ONCE = 8


@pytest.fixture
async def two(fleet: Fleet) -> Fleet:
    """Two orchestrators that have heard of each other."""
    await fleet.crash_orchestrator()
    heard: list[str] = []

    async def pulse(message: Any) -> None:
        heard.append(message.subject)

    async def know_each_other() -> bool:
        """Each pulses twice when it starts, and once more to greet the other."""
        return sorted(Counter(heard).values()) == [3, 3]

    await fleet.connection.subscribe(fleet.subjects.all_pulses, pulse)
    await fleet.connection.settle()
    await fleet.start_orchestrator(PATIENT)
    await fleet.start_orchestrator(PATIENT)
    await eventually(know_each_other, what="greetings of both")
    return fleet


async def requests_on(two: Fleet, subject: str, wanted: Callable[[bytes], bool]) -> asyncio.Queue[bytes]:
    """What is asked from now on, as both orchestrators hear it."""
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Any) -> None:
        if wanted(message.data):
            asked.put_nowait(message.data)

    await two.connection.subscribe(subject, hear)
    await two.connection.settle()
    return asked


async def test_a_submit_waits_for_the_kind_of_an_agent_that_is_just_let_in(two: Fleet) -> None:
    asked = await requests_on(two, two.subjects.submit, lambda _: True)
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(two.ask(two.subjects.submit, encode(TaskEnvelope("new", 1))))
        for _ in range(AT_ONCE):
            await asyncio.wait_for(asked.get(), 20)
        await two.agent("a", kinds=("new",))


async def test_a_clients_submit_waits_for_it_too(two: Fleet) -> None:
    asked = await requests_on(two, two.subjects.agents, lambda data: b"new" in data)
    async with (
        Client(settings=two.settings, fleet=two.subjects.fleet) as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(client.submit("new", 1))
        await asyncio.wait_for(asked.get(), 20)
        await two.agent("a", kinds=("new",))


async def test_a_kind_that_nobody_declared_is_refused_after_a_moment(
    fleet: Fleet,
) -> None:
    await fleet.start_orchestrator()
    with pytest.raises(UnknownKind):
        await fleet.submit("never")
    async with Client(settings=fleet.settings, fleet=fleet.subjects.fleet) as client:
        with pytest.raises(UnknownKind):
            await client.submit("never", 1)
