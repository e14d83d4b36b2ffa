"""A running orchestrator in the test's own loop, on a real nats-server, with short thresholds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from outrider.broker.codec import decode, encode, load
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import NobodyAnswers, error_from_wire
from outrider.broker.messages import Submitted, TaskEnvelope
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.ledger.fold import Story
from outrider.ledger.reader import LedgerReader
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.shell import serve
from tests.support.scripted_agent import ScriptedAgent
from tests.support.thresholds import QUICK
from tests.support.waiting import eventually


class Fleet:
    """What a test needs of a running fleet."""

    def __init__(self, settings: NatsSettings, connection: Connection, subjects: Subjects) -> None:
        self.settings = settings
        self.connection = connection
        self.subjects = subjects
        self.ledger = LedgerReader(connection, subjects)
        self._orchestrators: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    async def start_orchestrator(self, thresholds: Thresholds = QUICK) -> None:
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(
            serve(self.settings, self.subjects.fleet, stop, lambda _: ready.set(), thresholds)
        )
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert ready.is_set(), running
        self._orchestrators.append((stop, running))

    async def crash_orchestrator(self, which: int = -1) -> None:
        """End it where it stands, as kill -9 would: nothing is said, nothing is finished."""
        _, running = self._orchestrators.pop(which)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
            await running

    async def stop(self) -> None:
        for stop, running in self._orchestrators:
            stop.set()
            await asyncio.wait_for(running, 10)

    async def agent(self, name: str, slots: int = 2, **fields: Any) -> ScriptedAgent:
        agent = ScriptedAgent(self.connection, self.subjects, name, slots)
        for field, value in fields.items():
            setattr(agent, field, value)
        await agent.start()
        return agent

    async def submit(self, kind: str = "echo", **fields: Any) -> str:
        envelope = TaskEnvelope(kind, fields.pop("payload", {"x": 1}), **fields)
        answer = await self.connection.request(self.subjects.submit, encode(envelope), 5.0)
        error = error_from_wire(load(answer.data))
        if error is not None:
            raise error
        return decode(Submitted, answer.data).task_id

    async def ask(self, subject: str, body: bytes) -> Any:
        """The decoded answer; raises the error that it carries."""
        answer = await self.connection.request(subject, body, 10.0)
        value = load(answer.data)
        error = error_from_wire(value)
        if error is not None:
            raise error
        return value

    async def until_served(self) -> None:
        """Wait until an orchestrator answers again, as a client does after an outage."""

        async def answers() -> bool:
            with contextlib.suppress(NobodyAnswers):
                await self.ask(self.subjects.stats, b"{}")
                return True
            return False

        await eventually(answers, what="an orchestrator")

    async def until_known(self, kind: str) -> None:
        """Wait until every orchestrator has heard of the kind: whoever answers a request is one of them."""

        async def all_know() -> bool:
            answers = [await self.ask(self.subjects.agents, b"{}") for _ in range(16)]
            return all(kind in answer["kinds"] for answer in answers)

        await eventually(all_know, what=f"all orchestrators to know {kind}")

    async def story_when(self, task_id: str, holds: Callable[[Story], bool], within_s: float = 20.0) -> Story:
        async def read() -> Story | None:
            story = await self.ledger.story(task_id)
            return story if holds(story) else None

        return await eventually(read, within_s, f"the wanted story of {task_id}")

    async def ended(self, task_id: str, as_: TaskState = TaskState.SUCCEEDED) -> Story:
        story = await self.story_when(task_id, lambda s: s.is_terminal)
        assert story.state is as_, story
        return story


@pytest.fixture
async def fleet(settings: NatsSettings, connection: Connection, subjects: Subjects) -> AsyncIterator[Fleet]:
    """One orchestrator, no agents."""
    running = Fleet(settings, connection, subjects)
    await running.start_orchestrator()
    yield running
    await running.stop()
