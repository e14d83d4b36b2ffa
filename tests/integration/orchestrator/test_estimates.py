"""Estimates of a real fleet: orchestrator, router and sleeping agents, held against what then happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from outrider import router
from outrider.agents import Agent
from outrider.agents.samples import sleeper
from outrider.broker.codec import dump, load
from outrider.broker.config import NatsSettings
from outrider.broker.errors import InvalidTask, UnknownKind
from outrider.broker.estimates import EstimateBasis
from outrider.broker.subjects import Subjects
from outrider.client import CanMeet, Client, NewTask, Refused, SyncClient
from tests.integration.orchestrator.conftest import Fleet

NAP = {"seconds": 0.5}


@asynccontextmanager
async def serving(serve: Any) -> AsyncIterator[None]:
    """A part until the end of the block; `serve` takes a stop event and whom to tell that it is ready."""
    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(stop, lambda _: ready.set()))
        await asyncio.wait_for(ready.wait(), 15)
        yield
        stop.set()


@pytest.fixture
async def client(settings: NatsSettings, subjects: Subjects, fleet: Fleet) -> AsyncIterator[Client]:
    async with Client(settings=settings, fleet=subjects.fleet) as opened:
        yield opened


@asynccontextmanager
async def sleepers(
    settings: NatsSettings, subjects: Subjects, state: Path, *, with_router: bool = True
) -> AsyncIterator[None]:
    """A router and two agents, with three slots in all."""
    async with AsyncExitStack() as stack:
        if with_router:
            await stack.enter_async_context(
                serving(
                    lambda stop, ready: router.serve(
                        settings, subjects.fleet, state, "model", stop, ready, env={}
                    )
                )
            )
        for name, slots in (("s1", 2), ("s2", 1)):
            agent = Agent(name, slots=slots, state=state / name)
            agent.handles("sleep")(sleeper(1.0))
            await stack.enter_async_context(
                serving(lambda stop, ready, a=agent: a.serve(settings, subjects.fleet, stop, ready))
            )
        yield


async def test_the_estimate_of_a_queue_is_about_what_then_happens(
    client: Client, settings: NatsSettings, subjects: Subjects, tmp_path: Path
) -> None:
    async with sleepers(settings, subjects, tmp_path):
        for task in await client.submit_many([("sleep", NAP)] * 9):
            await task.ended(20)
        idle = await client.estimate("sleep", NAP)
        assert (idle.basis, idle.ahead, idle.agents, idle.slots) == (EstimateBasis.ROUTER, 0, 2, 3)
        assert idle.p50_s is not None
        assert 0.3 < idle.p50_s < 1.0

        # All alike, the last one too: none is better placed before another.
        await client.submit_many([NewTask("sleep", NAP, deadline_s=60)] * 18)
        last = await client.submit("sleep", NAP, eta=True, deadline_s=60)
        eta = last.eta
        assert eta is not None
        assert eta.ahead >= 12
        assert eta.p50_s is not None
        assert eta.p90_s is not None
        assert (eta.can_meet, last.warning) == (CanMeet.YES, None)
        view = await last.ended(30)
        assert view.sojourn_s is not None
        assert 0.6 * eta.p50_s < view.sojourn_s < 1.5 * eta.p50_s
        assert view.sojourn_s < 1.5 * eta.p90_s


async def test_a_deadline_that_cannot_be_met_is_flagged_or_refused(
    client: Client, fleet: Fleet, settings: NatsSettings, subjects: Subjects, tmp_path: Path
) -> None:
    async with sleepers(settings, subjects, tmp_path):
        for task in await client.submit_many([("sleep", NAP)] * 6):
            await task.ended(20)
        long = await client.submit_many([NewTask("sleep", {"seconds": 30}) for _ in range(4)])
        found = await client.estimate("sleep", NAP, deadline_s=0.4)
        assert found.can_meet is CanMeet.NO
        assert (await client.estimate("sleep", NAP, deadline_s=3600)).can_meet is CanMeet.YES
        with pytest.raises(Refused, match=r"not submitted: the deadline of 400 ms cannot be met"):
            await client.submit("sleep", NAP, deadline_s=0.4, refuse_late=True, key="late")
        stats = await client.stats()
        task = await client.submit("sleep", NAP, deadline_s=0.4, eta=True)
        assert task.warning is not None
        assert "cannot be met" in task.warning
        assert (await client.stats()).orchestrator == stats.orchestrator
        with pytest.raises(Refused):
            await client.submit("sleep", NAP, deadline_s=0.4, refuse_late=True)
        for one in long:
            await client.cancel(one.task_id)


async def test_without_a_router_the_averages_answer(
    client: Client, settings: NatsSettings, subjects: Subjects, tmp_path: Path
) -> None:
    async with sleepers(settings, subjects, tmp_path, with_router=False):
        assert (await client.estimate("sleep", NAP)).basis is EstimateBasis.GUESS
        for task in await client.submit_many([("sleep", NAP)] * 6):
            await task.ended(20)
        found = await client.estimate("sleep", NAP)
        assert found.basis is EstimateBasis.AVERAGES
        assert found.p50_s == pytest.approx(0.5, abs=0.2)


async def test_it_answers_json_with_json_and_names_what_is_wrong(fleet: Fleet) -> None:
    await fleet.agent("a1", slots=1)
    subject = fleet.subjects.estimate
    answer = await fleet.connection.request(
        subject, b'{"kind": "echo", "payload": {"x": 1}, "deadline_s": 9}'
    )
    found = json.loads(answer.data)
    assert (found["kind"], found["basis"], found["can_meet"]) == ("echo", "guess", "yes")
    packed = load((await fleet.connection.request(subject, dump({"kind": "echo"}))).data)
    assert (packed["agents"], packed["slots"], packed["ahead"]) == (1, 1, 0)
    with pytest.raises(UnknownKind):
        await fleet.ask(subject, b'{"kind": "paint"}')
    with pytest.raises(InvalidTask):
        await fleet.ask(subject, b'{"kind": "echo", "priority": 12}')


async def test_only_what_has_the_same_or_a_higher_priority_is_ahead(client: Client, fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    running = await client.submit("echo")
    await agent.next_assignment()
    for priority in (2, 5, 5, 7):
        await client.submit("echo", priority=priority)
    ahead = [(await client.estimate("echo", priority=p)).ahead for p in (0, 2, 5, 9)]
    assert ahead == [0, 1, 3, 4]
    assert running.eta is None


async def test_a_kind_that_is_paused_has_no_number_and_is_not_refused(client: Client, fleet: Fleet) -> None:
    await fleet.agent("a1", slots=1)
    await client.pause("echo")
    found = await client.estimate("echo", deadline_s=5)
    assert (found.p50_s, found.can_meet) == (None, CanMeet.UNKNOWN)
    assert "paused" in str(found.warning)
    assert (await client.submit("echo", deadline_s=5, refuse_late=True)).warning


async def test_options_that_do_not_go_together_are_named(client: Client, fleet: Fleet) -> None:
    await fleet.agent("a1")
    with pytest.raises(InvalidTask, match="goes with a deadline"):
        await client.submit("echo", refuse_late=True)
    with pytest.raises(InvalidTask, match="starts now"):
        await client.submit("echo", eta=True, delay_s=5)


async def test_scripts_can_ask_too(settings: NatsSettings, subjects: Subjects, fleet: Fleet) -> None:
    await fleet.agent("a1")

    def script() -> None:
        with SyncClient(settings=settings, fleet=subjects.fleet) as client:
            assert client.estimate("echo", {"x": 1}).agents == 1
            assert client.submit("echo", eta=True).eta is not None

    await asyncio.to_thread(script)
