"""A scripted orchestrator that speaks only the wire, and agents to hold against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from outrider.agents import Agent
from outrider.broker.codec import decode, encode, load
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.follower import StreamReader
from outrider.broker.messages import (
    AssignAnswer,
    Assignment,
    CancelAttempt,
    Chunk,
    Done,
    Heartbeat,
    Join,
    Joined,
    Settle,
    Settled,
    TaskEnvelope,
    Verdict,
)
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.pipeline import Appender, guard
from outrider.broker.routing import RouteReason
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned, Closed, decode_entry
from tests.support.waiting import eventually

ORCHESTRATOR = "o-test"


class Counterpart:
    """Answers joins and settles, keeps heartbeats, assigns by compare-and-set, reads outcomes."""

    def __init__(self, connection: Connection, subjects: Subjects, heartbeat_s: float = 0.2) -> None:
        self.connection = connection
        self.subjects = subjects
        self.joins: list[Join] = []
        self.beats: list[Heartbeat] = []
        self.settles: list[Settle] = []
        self.refusal: OutriderError | None = None
        self.on_settle: Callable[[Settle], Settled] = lambda s: Settled(Verdict.SUPERSEDED, s.epoch, s.epoch)
        self._heartbeat_s = heartbeat_s
        self._appender = Appender(connection, timeout_s=2.0)
        self._ledger = StreamReader(connection, subjects.ledger_stream)
        self._chunks = StreamReader(connection, subjects.chunks_stream)

    async def start(self) -> None:
        await ensure_streams(self.connection, self.subjects)
        await self._appender.start()
        await self.connection.subscribe(self.subjects.any_join, self._joined)
        await self.connection.subscribe(self.subjects.any_settle, self._settled)
        await self.connection.subscribe(self.subjects.all_heartbeats, self._heard)
        await self.connection.settle()

    async def _joined(self, message: Any) -> None:
        if self.refusal is not None:
            await self.connection.publish(message.reply, encode_error(self.refusal))
            return
        self.joins.append(decode(Join, message.data))
        await self.connection.publish(message.reply, encode(Joined(ORCHESTRATOR, self._heartbeat_s)))

    async def _settled(self, message: Any) -> None:
        request = decode(Settle, message.data)
        self.settles.append(request)
        await self.connection.publish(message.reply, encode(self.on_settle(request)))

    async def _heard(self, message: Any) -> None:
        self.beats.append(decode(Heartbeat, message.data))

    async def last_seq(self, task_id: str) -> int:
        stored = await self._ledger.all_of(self.subjects.story(task_id))
        return stored[-1].seq if stored else 0

    async def append_assigned(self, task_id: str, agent_id: str, kind: str, attempt: int = 1) -> int:
        """Write the entry that allows an attempt; returns its sequence, the epoch."""
        expect = await self.last_seq(task_id)
        entry = Assigned(
            task_id=task_id,
            attempt=attempt,
            agent_id=agent_id,
            instance="",
            epoch=expect,
            kind=kind,
            priority=5,
            reason=RouteReason.ONLY_CANDIDATE,
            envelope=TaskEnvelope(kind, task_id=task_id),
        )
        return await self._append(
            self.subjects.ledger_orchestrator(task_id, ORCHESTRATOR), entry, expect, task_id
        )

    async def close_task(self, task_id: str, kind: str = "cancelled") -> int:
        expect = await self.last_seq(task_id)
        entry = Closed(task_id, expect, kind)
        return await self._append(
            self.subjects.ledger_orchestrator(task_id, ORCHESTRATOR), entry, expect, task_id
        )

    async def _append(self, subject: str, entry: Any, expect: int, task_id: str) -> int:
        headers = guard(expect, self.subjects.story(task_id))
        return await self._appender.append(subject, encode(entry), headers)

    async def assign(self, agent_id: str, assignment: Assignment) -> AssignAnswer:
        answer: AssignAnswer = await self.ask(agent_id, "assign", assignment, AssignAnswer)
        return answer

    async def ask(self, agent_id: str, verb: str, message: Any, answer: type[Any] = Done) -> Any:
        """Send a request to an agent and decode its answer."""
        got = await self.connection.request(self.subjects.agent(agent_id, verb), encode(message), 5.0)
        return decode(answer, got.data)

    async def give(
        self,
        agent_id: str,
        kind: str,
        payload: Any = None,
        task_id: str = "t1",
        attempt: int = 1,
        **limits: Any,
    ) -> Assignment:
        """Assign as an orchestrator does, and insist that the agent takes it."""
        epoch = await self.append_assigned(task_id, agent_id, kind, attempt)
        assignment = Assignment(task_id, kind, attempt, epoch, epoch, payload, **limits)
        answer = await self.assign(agent_id, assignment)
        assert answer.accepted, answer.reason
        return assignment

    async def cancel(self, agent_id: str, assignment: Assignment) -> Done:
        """End the task in the ledger, then tell the agent."""
        await self.close_task(assignment.task_id)
        done: Done = await self.ask(agent_id, "cancel", CancelAttempt(assignment.task_id, assignment.epoch))
        return done

    async def outcomes(self, task_id: str = "t1") -> list[Succeeded | Failed]:
        """What agents recorded of a task, in ledger order."""
        stored = await self._ledger.all_of(self.subjects.story(task_id))
        return [e for e in (decode_entry(s.data) for s in stored) if isinstance(e, (Succeeded, Failed))]

    async def outcome(self, task_id: str = "t1", within_s: float = 20.0) -> Succeeded | Failed:
        """The first outcome of a task, waited for."""

        async def first() -> Succeeded | Failed | None:
            found = await self.outcomes(task_id)
            return found[0] if found else None

        return await eventually(first, within_s, f"an outcome of {task_id}")

    async def result(self, task_id: str = "t1") -> Any:
        outcome = await self.outcome(task_id)
        assert isinstance(outcome, Succeeded), outcome
        return outcome.result

    async def failure(self, task_id: str = "t1", within_s: float = 20.0) -> Failed:
        outcome = await self.outcome(task_id, within_s)
        assert isinstance(outcome, Failed), outcome
        return outcome

    async def chunks(self, task_id: str = "t1") -> list[Chunk]:
        """The stored partial output of a task, in stream order."""
        stored = await self._chunks.all_of(self.subjects.chunks_of(task_id))
        return [decode(Chunk, s.data) for s in stored]

    async def beat_where(self, holds: Callable[[Heartbeat], bool], what: str) -> Heartbeat:
        """The latest heartbeat, once it is as wanted."""

        async def latest() -> Heartbeat | None:
            return self.beats[-1] if self.beats and holds(self.beats[-1]) else None

        return await eventually(latest, 10, what)


def encode_error(error: OutriderError) -> bytes:
    import msgpack

    packed: bytes = msgpack.packb(error.to_wire())
    return packed


@asynccontextmanager
async def counterpart(connection: Connection, subjects: Subjects) -> AsyncIterator[Counterpart]:
    """A counterpart that has started."""
    part = Counterpart(connection, subjects)
    await part.start()
    yield part


@asynccontextmanager
async def serving(agent: Agent, settings: NatsSettings, subjects: Subjects) -> AsyncIterator[asyncio.Event]:
    """The agent, joined; gives the event that stops it, and stops it at the end."""
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(agent.serve(settings, subjects.fleet, stop, lambda _: ready.set()))
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    waiting.cancel()
    if task.done():
        task.result()
    assert ready.is_set(), "the agent did not join"
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=30)
        assert task.done(), "the agent did not leave"
        task.result()


__all__ = ["Counterpart", "counterpart", "encode_error", "load", "serving"]
