"""Schedules in LATER: storing one, finding one, ending one. The server itself watches the time.

Knows nothing of what happens when a time has come; that is due.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from outrider.broker.clock import Clock
from outrider.broker.codec import dump, encode, load
from outrider.broker.connection import Connection
from outrider.broker.cron import parse_cron
from outrider.broker.errors import QueueFull, Refused, WrongSequence
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import Appender, guard
from outrider.broker.scheduling import SubmitOptions, at_headers, cron_headers, next_fire
from outrider.broker.schema import from_map, to_map
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.broker.views import TaskView, unstarted
from outrider.ledger.entries import Closed


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A task that waits for its time, with what its submit said beside it. `seq` is its place in LATER."""

    envelope: TaskEnvelope
    options: SubmitOptions
    seq: int = 0
    is_due: bool = False
    """Its time has come, and it is on its way to TASKS."""

    def body(self) -> bytes:
        """A task envelope with more fields, so that whoever knows envelopes can read it."""
        return dump(to_map(self.envelope) | to_map(self.options))

    def view(self, wall_at: float) -> TaskView:
        envelope, options = self.envelope, self.options
        run_at = next_fire(options.cron, options.time_zone, wall_at) if options.cron else options.run_at
        return unstarted(envelope, TaskState.QUEUED if self.is_due else TaskState.SCHEDULED, run_at=run_at)


def read_scheduled(data: bytes, seq: int = 0, *, is_due: bool = False) -> Scheduled:
    """What a message of LATER holds. Raises DecodeError."""
    body = load(data)
    return Scheduled(from_map(TaskEnvelope, body), from_map(SubmitOptions, body), seq, is_due)


class ScheduledTasks:
    """LATER by task id."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        me: str,
        appender: Appender,
        clock: Clock,
        bounds: tuple[int, int],
    ) -> None:
        """`bounds` are the most messages and bytes of LATER."""
        self._connection = connection
        self._bounds = bounds
        self._subjects = subjects
        self._me = me
        self._appender = appender
        self._clock = clock
        self._reader = StreamReader(connection, subjects.later_stream)

    async def put(self, task: Scheduled) -> None:
        """Store a schedule, once. Raises InvalidTask, or WrongSequence when it is there already."""
        envelope, options = task.envelope, task.options
        schedule_id = envelope.task_id
        target = self._subjects.due(envelope.kind, envelope.priority, schedule_id)
        if options.cron is not None:
            headers = cron_headers(parse_cron(options.cron).pattern, options.time_zone, target)
        else:
            headers = at_headers(options.run_at or self._clock.wall(), target)
        subject = self._subjects.later(schedule_id)
        await self._appender.append(subject, task.body(), headers | guard(0, subject))

    async def refuse_when_full(self) -> None:
        """Raises QueueFull when LATER is at its bound, which the server cannot keep by itself."""
        state = (await self._connection.api(f"STREAM.INFO.{self._subjects.later_stream}"))["state"]
        if state["messages"] >= self._bounds[0] or state["bytes"] >= self._bounds[1]:
            raise QueueFull(
                f"{state['messages']} schedules of {state['bytes']} bytes wait, which is the limit",
                hint="outrider schedule ls shows them; most_schedules is a setting",
            )

    async def find(self, task_id: str) -> Scheduled | None:
        """The schedule or the task whose time has just come; None when LATER has neither."""
        stored = await self._last(task_id)
        if stored is None:
            return None
        is_due = stored.subject != self._subjects.later(task_id)
        return read_scheduled(stored.data, stored.seq, is_due=is_due)

    async def _last(self, task_id: str) -> Stored | None:
        s = self._subjects
        found = await self._reader.last_of([s.later(task_id), s.due_anywhere(task_id)])
        return found[-1] if found else None

    async def view(self, task_id: str) -> TaskView | None:
        task = await self.find(task_id)
        return task.view(self._clock.wall()) if task is not None else None

    async def end(self, task_id: str, reason: str) -> TaskView | None:
        """Cancel a delayed task, or stop a cron schedule; None when LATER has neither.

        Raises Refused when its time came at this moment.
        """
        task = await self.find(task_id)
        if task is None:
            return None
        if task.options.cron is None:
            await self._record_end(task, reason)
        await self._remove(task.seq)
        return replace(task.view(self._clock.wall()), state=TaskState.CANCELLED, run_at=None)

    async def _record_end(self, task: Scheduled, reason: str) -> None:
        """Its terminal entry: should it fire all the same, the ledger knows that it is over."""
        envelope = task.envelope
        task_id, at = envelope.task_id, self._clock.wall()
        entry = Closed(task_id, 0, "cancelled", reason, envelope=envelope, kind=envelope.kind, at=at)
        subject = self._subjects.ledger_orchestrator(task_id, self._me)
        try:
            await self._appender.append(subject, encode(entry), guard(0, self._subjects.story(task_id)))
        except WrongSequence:
            raise Refused(f"the time of task {task_id} came at this moment", hint="ask again") from None

    async def _remove(self, seq: int) -> None:
        await self._connection.api(
            f"STREAM.MSG.DELETE.{self._subjects.later_stream}", {"seq": seq, "no_erase": True}
        )
