"""An agent for tests that does on the wire what the test says, and by itself only answers pings."""

from __future__ import annotations

import asyncio
from typing import Any

from outrider.broker.codec import decode, encode
from outrider.broker.connection import Connection
from outrider.broker.messages import (
    AssignAnswer,
    Assignment,
    AttemptError,
    Heartbeat,
    Join,
    Joined,
    SpooledEpoch,
)
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.pipeline import Appender, guard
from outrider.broker.states import AgentState, ErrorClass
from outrider.broker.subjects import Subjects


class ScriptedAgent:
    """Joins, collects assignments, and records the outcomes that the test asks for."""

    def __init__(self, connection: Connection, subjects: Subjects, agent_id: str, slots: int = 2) -> None:
        self._connection = connection
        self._subjects = subjects
        self.agent_id = agent_id
        self.instance = f"{agent_id}-1"
        self.slots = slots
        self.kinds: tuple[str, ...] = ("echo",)
        self.labels: tuple[str, ...] = ()
        self.assigned: asyncio.Queue[Assignment] = asyncio.Queue()
        self.cancelled: asyncio.Queue[bytes] = asyncio.Queue()
        self.refuses_with = ""
        self.running: set[int] = set()
        self.spooled: tuple[SpooledEpoch, ...] = ()
        self._appender = Appender(connection)
        self._subscriptions: list[Any] = []

    async def start(self) -> Joined:
        """Subscribe and join; returns the orchestrator's answer."""
        await self._appender.start()
        for verb, callback in (("assign", self._assign), ("cancel", self._cancel), ("ping", self._ping)):
            subject = self._subjects.agent(self.agent_id, verb)
            self._subscriptions.append(await self._connection.subscribe(subject, callback))
        await self._connection.settle()
        return await self.join()

    async def join(self) -> Joined:
        join = Join(self.agent_id, self.instance, self.kinds, self.slots, self.labels, self.spooled)
        subject = self._subjects.agent(self.agent_id, "join")
        answer = await self._connection.request(subject, encode(join), 10.0)
        return decode(Joined, answer.data)

    async def vanish(self) -> None:
        """Stop listening, as a killed process does."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        await self._connection.settle()

    async def beat(self, state: AgentState = AgentState.ONLINE) -> None:
        subject = self._subjects.agent(self.agent_id, "heartbeat")
        await self._connection.publish(subject, encode(self._heartbeat(state)))

    def _heartbeat(self, state: AgentState = AgentState.ONLINE) -> Heartbeat:
        return Heartbeat(self.agent_id, self.instance, state, self.slots, tuple(self.running))

    async def _assign(self, message: Any) -> None:
        assignment = decode(Assignment, message.data)
        accepted = not self.refuses_with
        answer = AssignAnswer(accepted, self.refuses_with, assignment.epoch)
        await self._connection.publish(message.reply, encode(answer))
        if accepted:
            self.running.add(assignment.epoch)
        await self.assigned.put(assignment)

    async def _cancel(self, message: Any) -> None:
        await self.cancelled.put(message.data)

    async def _ping(self, message: Any) -> None:
        await self._connection.publish(message.reply, encode(self._heartbeat()))

    async def next_assignment(self, within_s: float = 15.0) -> Assignment:
        return await asyncio.wait_for(self.assigned.get(), within_s)

    async def succeed(self, a: Assignment, result: Any = "done") -> int:
        """Record a success with the epoch of the assignment; raises WrongSequence when it is stale."""
        self.running.discard(a.epoch)
        entry = Succeeded(a.task_id, a.attempt, self.agent_id, a.epoch, result, service_s=0.01)
        return await self._record(a, entry)

    async def fail(self, a: Assignment, *, retryable: bool = True, retry_after_s: float | None = None) -> int:
        self.running.discard(a.epoch)
        error = AttemptError(ErrorClass.HANDLER, "it did not work", retryable, retry_after_s)
        return await self._record(a, Failed(a.task_id, a.attempt, self.agent_id, a.epoch, error))

    async def _record(self, a: Assignment, entry: Succeeded | Failed) -> int:
        subject = self._subjects.ledger_agent(a.task_id, self.agent_id)
        return await self._appender.append(
            subject, encode(entry), guard(a.expect, self._subjects.story(a.task_id))
        )
