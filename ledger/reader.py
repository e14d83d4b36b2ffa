"""Reads the ledger at any sequence without disturbing it, and folds what it reads.

The one file of `ledger/` that does I/O. What cannot be decoded is passed over and kept in the story's notes.
"""

from __future__ import annotations

from collections.abc import Sequence

from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.subjects import Subjects, parse_ledger
from outrider.ledger.entries import decode_entry
from outrider.ledger.fold import Record, Story


def record_of(stored: Stored) -> Record:
    """The checked record of a stored message. Raises DecodeError."""
    parse_ledger(stored.subject)
    try:
        entry = decode_entry(stored.data)
    except OutriderError as error:
        raise DecodeError(f"ledger entry {stored.seq}: {error.message}") from None
    return Record(stored.seq, stored.subject, entry, stored.stored_at)


def fold_stored(task_id: str, stored: list[Stored]) -> Story:
    """The story of one task from its stored messages in order."""
    story = Story(task_id)
    for message in stored:
        try:
            record = record_of(message)
        except DecodeError as error:
            story.skip(message.seq, error.message)
            continue
        story.apply(record.seq, parse_ledger(record.subject), record.entry, record.stored_at)
    return story


TASKS_A_READ = 100
"""The server answers at most 1,024 subjects a read; a task has a few writers."""


class LedgerReader:
    """Stories and entries of one fleet's ledger."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self._subjects = subjects
        self._reader = StreamReader(connection, subjects.ledger_stream)

    async def stored(self, task_id: str) -> list[Stored]:
        """Every stored message of one task, in order."""
        return await self._reader.all_of(self._subjects.story(task_id))

    async def story(self, task_id: str) -> Story:
        """The folded story of one task; one without entries is `unwritten`."""
        return fold_stored(task_id, await self.stored(task_id))

    async def stories(self, task_ids: Sequence[str]) -> list[Story]:
        """The folded stories of many tasks, in order.

        Most are told by the last entry of each of their writers; only where these do not fit together is
        the whole story read.
        """
        found = []
        for first in range(0, len(task_ids), TASKS_A_READ):
            part = task_ids[first : first + TASKS_A_READ]
            last: dict[str, list[Stored]] = {task_id: [] for task_id in part}
            for stored in await self._reader.last_of([self._subjects.story(task_id) for task_id in part]):
                last[stored.subject.split(".", 3)[2]].append(stored)
            for task_id in part:
                story = fold_stored(task_id, last[task_id])
                found.append(await self.story(task_id) if story.ignored else story)
        return found

    async def has(self, subject: str) -> bool:
        """Whether anything stands on this subject."""
        return bool(await self._reader.last_of([subject]))

    async def at(self, seq: int) -> Stored | None:
        """The message at one sequence, or None when retention removed it."""
        return await self._reader.at(seq)
