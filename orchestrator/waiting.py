"""Tasks that still wait in TASKS and that no orchestrator holds: finding one, ending one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from outrider.broker.codec import decode, encode
from outrider.broker.connection import Connection
from outrider.broker.errors import Refused, WrongSequence
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import Appender, guard
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Closed
from outrider.ledger.fold import Record, Story


class WaitingTasks:
    """TASKS by task id, read without taking anything from it."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        orchestrator_id: str,
        appender: Appender,
        on_recorded: Callable[[Record], None],
    ) -> None:
        """`on_recorded` is told of ends that were stored past the core, which may not receive them back."""
        self._on_recorded = on_recorded
        self._connection = connection
        self._subjects = subjects
        self._me = orchestrator_id
        self._appender = appender
        self._reader = StreamReader(connection, subjects.tasks_stream)

    async def find(self, task_id: str) -> Stored | None:
        """The task's message, or None when it does not wait."""
        found = await self._reader.last_of([self._subjects.task_anywhere(task_id)])
        return found[-1] if found else None

    async def end(self, task_id: str, type_: str, reason: str, wall_at: float, expect: int = 0) -> bool:
        """Its terminal entry first, then its message; False when it does not wait.

        `expect` is the last entry under its name, when none of them counts.

        Raises Refused when it was taken up meanwhile.
        """
        waiting = await self.find(task_id)
        if waiting is None:
            return False
        envelope = decode(TaskEnvelope, waiting.data)
        entry = Closed(task_id, 0, type_, reason, envelope=envelope, kind=envelope.kind, at=wall_at)
        subject = self._subjects.ledger_orchestrator(task_id, self._me)
        try:
            await self._appender.append(subject, encode(entry), guard(expect, self._subjects.story(task_id)))
        except WrongSequence:
            raise Refused(f"task {task_id} was taken up at this moment", hint="ask again") from None
        await self.remove(waiting.seq)
        return True

    async def remove(self, seq: int) -> None:
        """Take out one message whose task the ledger knows."""
        stream = self._subjects.tasks_stream
        await self._connection.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})

    async def bury(self, task_id: str, why: str, kind: str = "") -> None:
        """Record that what bears this id makes no sense; a task that the ledger knows stays as it is."""
        await self.record(Closed(task_id, 0, "dead", why, "malformed", kind=kind), 0, 0.0)

    async def record(self, entry: Closed, expect: int, wall_at: float) -> bool:
        """Store the end of a task whose story ends at `expect`; False when the story went on meanwhile."""
        subject = self._subjects.ledger_orchestrator(entry.task_id, self._me)
        over = self._subjects.story(entry.task_id)
        try:
            seq = await self._appender.append(
                subject, encode(replace(entry, at=wall_at)), guard(expect, over)
            )
        except WrongSequence:
            return False
        self._on_recorded(Record(seq, subject, entry))
        return True

    def found_over(self, story: Story) -> None:
        """The ledger holds the end of a task that still waited: the receipt of it may have been lost."""
        if isinstance(story.last, Closed):
            subject = self._subjects.ledger_orchestrator(story.task_id, story.owner)
            self._on_recorded(Record(story.epoch, subject, story.last))
