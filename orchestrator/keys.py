"""The records of KEYS: one value a name, changed by compare-and-set only, so that no memory has to agree.

Stores and reads; what a record means is its user's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.broker.codec import dump, load
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError
from outrider.broker.follower import StreamReader
from outrider.broker.pipeline import Appender, guard
from outrider.broker.subjects import Subjects


@dataclass(frozen=True, slots=True)
class Record:
    """What a name stands for, and the sequence that the next change must expect; 0 for a new name."""

    value: dict[str, Any]
    seq: int = 0


class Keys:
    """One fleet's names and what they stand for."""

    def __init__(self, connection: Connection, subjects: Subjects, appender: Appender) -> None:
        self._subjects = subjects
        self._appender = appender
        self._reader = StreamReader(connection, subjects.keys_stream)

    async def read(self, name: str) -> Record:
        """The record as it is now, empty for a new name."""
        found = await self._reader.last_of([self._subjects.key(name)])
        if not found:
            return Record({})
        try:
            value = load(found[-1].data)
        except DecodeError:
            value = {}
        return Record(value if isinstance(value, dict) else {}, found[-1].seq)

    async def change(self, name: str, to: dict[str, Any], after: Record) -> None:
        """Replace a record as it was read. Raises WrongSequence when somebody else was first."""
        subject = self._subjects.key(name)
        await self._appender.append(subject, dump(to), guard(after.seq, subject))
