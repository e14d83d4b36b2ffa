"""A second attempt beside a slow one, on a real server: who is told what, and which outcome counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from outrider.agents import Agent, Task
from outrider.broker.codec import decode, encode
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import WrongSequence
from outrider.broker.messages import CancelAttempt, Settle, Verdict
from outrider.broker.subjects import Subjects
from outrider.client import Client
from outrider.ledger.entries import Hedged
from tests.integration.agents.counterpart import serving
from tests.integration.orchestrator.conftest import Fleet
from tests.support.scripted_agent import ScriptedAgent
from tests.support.thresholds import QUICK
from tests.support.waiting import eventually

EAGER = replace(QUICK, hedge_least_s=0.1, hedge_share=1.0)


@pytest.fixture
async def eager(settings: NatsSettings, connection: Connection, subjects: Subjects) -> AsyncIterator[Fleet]:
    """An orchestrator that hedges what runs for a tenth of a second."""
    running = Fleet(settings, connection, subjects)
    await running.start_orchestrator(EAGER)
    yield running
    await running.stop()


async def pair(fleet: Fleet) -> tuple[ScriptedAgent, ScriptedAgent]:
    """Two agents that are known to do such tasks in no time."""
    first = await fleet.agent("first", slots=1)
    task_id = await fleet.submit()
    await first.succeed(await first.next_assignment())
    await fleet.ended(task_id)
    return first, await fleet.agent("other", slots=1)


async def hedged(fleet: Fleet, task_id: str) -> Hedged:
    """The entry, once the task runs twice."""
    story = await fleet.story_when(task_id, lambda s: s.other is not None)
    assert story.other is not None
    assert isinstance(story.other.entry, Hedged)
    return story.other.entry


async def by_role(
    fleet: Fleet, agents: tuple[ScriptedAgent, ScriptedAgent], task_id: str
) -> tuple[ScriptedAgent, ScriptedAgent, Hedged]:
    """Who runs the first attempt, who the second, and the entry that began it."""
    entry = await hedged(fleet, task_id)
    first, other = agents
    slow, quick = (first, other) if entry.agent_id == other.agent_id else (other, first)
    return slow, quick, entry


async def test_the_second_wins_and_the_first_is_told_to_stop(eager: Fleet) -> None:
    agents = await pair(eager)
    task_id = await eager.submit(hedge=True)
    slow, quick, entry = await by_role(eager, agents, task_id)
    assert (entry.attempt, entry.ran_s >= EAGER.hedge_least_s) == (2, True)
    await quick.succeed(await quick.next_assignment(), "quick")
    story = await eager.ended(task_id)
    view = story.view()
    assert story.pair is not None
    assert (view.agent, view.attempts, view.result) == (quick.agent_id, 2, "quick")
    given = await slow.next_assignment()
    assert given.epoch in story.pair.epochs
    stops = {decode(CancelAttempt, await slow.cancelled.get()).epoch for _ in range(2)}
    assert stops == set(story.pair.epochs)
    with pytest.raises(WrongSequence):
        await slow.succeed(given, "too late")


async def test_an_agent_that_does_not_know_renew_settles_and_is_recorded(
    eager: Fleet, connection: Connection, subjects: Subjects
) -> None:
    agents = await pair(eager)
    task_id = await eager.submit(hedge=True)
    slow, quick, _ = await by_role(eager, agents, task_id)
    given = await slow.next_assignment()
    with pytest.raises(WrongSequence):
        await slow.succeed(given, "slow but first")
    settled = await eager.ask(subjects.agent(slow.agent_id, "settle"), encode(Settle(task_id, given.epoch)))
    assert settled["verdict"] == Verdict.RESEND
    await slow.succeed(replace(given, epoch=settled["epoch"], expect=settled["expect"]), "slow but first")
    story = await eager.ended(task_id)
    assert (story.view().agent, story.view().result) == (slow.agent_id, "slow but first")
    stop = decode(CancelAttempt, await quick.cancelled.get())
    assert stop.epoch == (await quick.next_assignment()).epoch


async def test_a_failure_of_one_leaves_the_other(eager: Fleet) -> None:
    agents = await pair(eager)
    task_id = await eager.submit(hedge=True, max_attempts=1)
    slow, quick, _ = await by_role(eager, agents, task_id)
    await quick.fail(await quick.next_assignment(), retryable=False)
    story = await eager.story_when(task_id, lambda s: s.is_live and s.other is None)
    given = await slow.next_assignment()
    await slow.succeed(replace(given, epoch=story.epoch, expect=story.expect))
    story = await eager.ended(task_id)
    assert (story.view().agent, story.newest, story.charged) == (slow.agent_id, 2, 0)


async def test_a_new_orchestrator_goes_on_with_both(eager: Fleet) -> None:
    agents = await pair(eager)
    task_id = await eager.submit(hedge=True)
    slow, quick, _ = await by_role(eager, agents, task_id)
    given, second = await slow.next_assignment(), await quick.next_assignment()
    await eager.crash_orchestrator()
    await eager.start_orchestrator(EAGER)
    again = await quick.next_assignment()
    assert (again.epoch, again.attempt) == (second.epoch, 2)
    assert (await slow.next_assignment()).epoch == given.epoch
    await quick.succeed(again)
    story = await eager.ended(task_id)
    assert (story.view().agent, story.newest) == (quick.agent_id, 2)


async def test_nothing_is_hedged_unasked(eager: Fleet) -> None:
    await pair(eager)
    await eager.agent("third", slots=1)
    plain = await eager.submit()
    await eager.story_when(plain, lambda s: s.is_live)
    await hedged(eager, await eager.submit(hedge=True))
    assert (await eager.ledger.story(plain)).pair is None


async def test_readers_miss_nothing_of_the_first_while_the_second_tells_nothing(
    eager: Fleet, settings: NatsSettings, subjects: Subjects
) -> None:
    """Two real agents: the first tells on after a second one began, which stays silent."""
    runs, both, go_on = itertools.count(), asyncio.Event(), asyncio.Event()

    async def story(task: Task) -> str:
        if task.payload == "short":
            return "told"
        if next(runs):
            both.set()
            await asyncio.Event().wait()
        await task.emit("a")
        await both.wait()
        for piece in "bcd":
            await task.emit(piece)
        await go_on.wait()
        await task.emit("e")
        return "told"

    agents = [Agent(name, slots=1) for name in ("one", "two")]
    for agent in agents:
        agent.handles("story")(story)
    async with AsyncExitStack() as stack:
        for agent in agents:
            await stack.enter_async_context(serving(agent, settings, subjects))
        client = await stack.enter_async_context(Client(settings=settings, fleet=subjects.fleet))
        await (await client.submit("story", "short")).result()
        task = await client.submit("story", "long", hedge=True)
        pieces = []
        async for piece in task.chunks():
            pieces.append(piece)
            if "d" in piece.data:
                go_on.set()
        assert "".join(piece.data for piece in pieces) == "abcde"
        assert {piece.attempt for piece in pieces} == {1}


async def test_readers_get_the_attempt_that_wins(
    eager: Fleet, settings: NatsSettings, subjects: Subjects
) -> None:
    """Two real agents: the first begins to tell and hangs, the second tells it all."""
    runs, stopped = itertools.count(), asyncio.Event()

    async def story(task: Task) -> str:
        if task.payload == "short":
            return "told"
        if next(runs):
            await task.emit("once ")
            await task.emit("told")
            return "told"
        await task.emit("never")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise
        return "never"

    agents = [Agent(name, slots=1) for name in ("one", "two")]
    for agent in agents:
        agent.handles("story")(story)
    async with AsyncExitStack() as stack:
        for agent in agents:
            await stack.enter_async_context(serving(agent, settings, subjects))
        client = await stack.enter_async_context(Client(settings=settings, fleet=subjects.fleet))
        await (await client.submit("story", "short")).result()
        task = await client.submit("story", "long", hedge=True)
        pieces = [piece async for piece in task.chunks()]
        assert await task.result() == "told"
        assert "".join(piece.data for piece in pieces if piece.attempt == 2) == "once told"
        assert {piece.attempt for piece in pieces} <= {1, 2}
        assert pieces[-1].attempt == 2
        await asyncio.wait_for(stopped.wait(), 10)
        view = await client.get(task.task_id)
        assert (view.attempts, view.state) == (2, "succeeded")

        async def is_idle() -> bool:
            return all(agent.in_flight == 0 for agent in await client.agents())

        await eventually(is_idle, what="free slots")
