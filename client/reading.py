"""Reads from the streams what is known of a task, so that an answer needs no orchestrator.

TASKS is always read before LEDGER: a task leaves the first only after it stands in the second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from outrider.broker.codec import decode, load
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.later import scheduled_among
from outrider.broker.messages import TaskEnvelope
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects, parse_task
from outrider.broker.views import TaskView, unstarted
from outrider.ledger.entries import Entry, entry_from_map
from outrider.ledger.fold import Record, Story
from outrider.ledger.reader import LedgerReader, record_of

NOT_OF_INTEREST = ("envelope", "candidates", "passed_over", "facts")
TASKS_A_READ = 100
"""The server answers at most 1,024 subjects a read; a task has a few writers."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task in TASKS, with the time it was stored."""

    envelope: TaskEnvelope
    stored_at: float
    seq: int

    def view(self, wall_at: float) -> TaskView:
        waiting_s = max(0.0, wall_at - self.stored_at)
        return unstarted(self.envelope, TaskState.QUEUED, submitted_at=self.stored_at, waiting_s=waiting_s)


@dataclass(frozen=True, slots=True)
class Known:
    """What the two streams hold of one task."""

    waiting: Waiting | None
    story: Story

    @property
    def is_nothing(self) -> bool:
        return self.waiting is None and not self.story.epoch

    @property
    def envelope(self) -> TaskEnvelope | None:
        """The task itself; the ledger's word counts more."""
        return self.story.envelope or (self.waiting.envelope if self.waiting else None)


def decode_sparingly(data: bytes) -> Entry:
    """A ledger entry without what its submitter knows or never looks at. Raises DecodeError."""
    value: Any = load(data)
    if isinstance(value, dict):
        for name in NOT_OF_INTEREST:
            value.pop(name, None)
    return entry_from_map(value)


def records_of(stored: Iterable[Stored]) -> list[Record]:
    """The entries among stored messages; bodies that are none are passed over, as every fold does."""
    found = []
    for message in stored:
        with contextlib.suppress(DecodeError):
            found.append(record_of(message))
    return found


def waiting_of(stored: Stored) -> Waiting | None:
    """The waiting task in a TASKS message, or None when it cannot be read."""
    try:
        kind, priority, task_id = parse_task(stored.subject)
        envelope = decode(TaskEnvelope, stored.data)
    except DecodeError:
        return None
    if (envelope.kind, envelope.priority, envelope.task_id) != (kind, priority, task_id):
        return None
    return Waiting(envelope, stored.stored_at, stored.seq)


class Reader:
    """Reads of TASKS, LEDGER and CHUNKS that disturb nobody."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self._subjects = subjects
        self._stories = LedgerReader(connection, subjects)
        self.tasks = StreamReader(connection, subjects.tasks_stream)
        self.ledger = StreamReader(connection, subjects.ledger_stream)
        self._later = StreamReader(connection, subjects.later_stream)
        self._chunks = StreamReader(connection, subjects.chunks_stream)

    async def story(self, task_id: str) -> Story:
        """The fold of all entries of a task; nothing written gives a story with `expect` 0."""
        return await self._stories.story(task_id)

    async def stored(self, task_id: str) -> list[Stored]:
        """Every stored entry of a task, in order."""
        return await self._stories.stored(task_id)

    async def waiting(self, task_id: str) -> Waiting | None:
        """The task in TASKS, or None."""
        stored = await self.tasks.last_of([self._subjects.task_anywhere(task_id)])
        return next((w for w in map(waiting_of, stored) if w is not None), None)

    async def known(self, task_id: str) -> Known:
        """All that the streams hold of a task."""
        waiting = await self.waiting(task_id)
        return Known(waiting, await self.story(task_id))

    async def newest(self, task_ids: Sequence[str]) -> dict[str, int]:
        """The sequence of the last entry of each of these tasks that has one."""
        found: dict[str, int] = {}
        for first in range(0, len(task_ids), TASKS_A_READ):
            part = [self._subjects.story(task_id) for task_id in task_ids[first : first + TASKS_A_READ]]
            for stored in await self.ledger.last_of(part):
                task_id = stored.subject.split(".", 3)[2]
                found[task_id] = max(stored.seq, found.get(task_id, 0))
        return found

    async def stories(self, task_ids: Sequence[str]) -> list[Story]:
        """The folds of many tasks, in order."""
        return await self._stories.stories(task_ids)

    async def waiting_among(self, task_ids: Sequence[str]) -> dict[str, Waiting]:
        """Those of these tasks that wait in TASKS."""
        found: dict[str, Waiting] = {}
        for first in range(0, len(task_ids), TASKS_A_READ):
            part = [self._subjects.task_anywhere(t) for t in task_ids[first : first + TASKS_A_READ]]
            for waiting in map(waiting_of, await self.tasks.last_of(part)):
                if waiting is not None:
                    found[waiting.envelope.task_id] = waiting
        return found

    async def unknown_among(self, task_ids: Sequence[str]) -> list[str]:
        """Those of these tasks that neither stream knows."""
        waiting = await self.waiting_among(task_ids)
        rest = [task_id for task_id in task_ids if task_id not in waiting]
        written = await self.newest(rest)
        rest = [task_id for task_id in rest if task_id not in written]
        later = await scheduled_among(self._later, self._subjects, rest)
        return [task_id for task_id in rest if task_id not in later]

    async def chunks_of(self, agent_id: str, task_id: str, attempt: int) -> list[Stored]:
        """Every stored piece of one attempt, in order."""
        return await self._chunks.all_of(self._subjects.chunk(agent_id, task_id, attempt))

    async def last_chunk(self, task_id: str) -> int:
        """The sequence of the last stored piece of output, 0 for none."""
        stored = await self._chunks.last_of([self._subjects.chunks_of(task_id)])
        return stored[-1].seq if stored else 0
