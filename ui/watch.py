"""One task that somebody watches: its story, its streamed text, and what a viewer of it still lacks.

Pure: records and chunks are handed in. Text is append-only and never dropped; a viewer's position
counts what it has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from outrider.broker.messages import Chunk, ChunkType
from outrider.broker.subjects import parse_ledger
from outrider.ledger.entries import Assigned, Hedged
from outrider.ledger.fold import Record, Story
from outrider.ledger.rules import Phase
from outrider.ui.rows import Row, brief_event, story_object

MOST_CHARS = 2_000_000
MOST_TEXTS = 200
MOST_IGNORED = 1_000


@dataclass(slots=True)
class AttemptText:
    """What one attempt has emitted so far."""

    attempt: int
    agent_id: str
    pieces: int = 0
    length: int = 0
    progress: float | None = None
    is_cut: bool = False
    _parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def add(self, chunk: Chunk) -> bool:
        """Take a piece; a repeated one changes nothing."""
        if chunk.offset < self.pieces:
            return False
        self.pieces = chunk.offset + 1
        if chunk.progress is not None:
            self.progress = chunk.progress
        if chunk.type is ChunkType.OUTPUT and chunk.data is not None:
            self._append(as_text(chunk.data))
        return True

    def _append(self, piece: str) -> None:
        room = MOST_CHARS - self.length
        self.is_cut = self.is_cut or len(piece) > room
        self._parts.append(piece[:room])
        self.length += len(piece[:room])


def as_text(data: Any) -> str:
    """A chunk's data as it is shown."""
    if isinstance(data, str):
        return data
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    return json.dumps(data, ensure_ascii=False) + "\n"


@dataclass(slots=True)
class Position:
    """What a viewer has of a task: which version, how many events, how many characters by attempt."""

    version: int = -1
    task_version: int = -1
    events: int = 0
    chars: dict[int, int] = field(default_factory=dict)
    progress: dict[int, float | None] = field(default_factory=dict)
    is_some: bool = False
    """The viewer has at least a snapshot."""


class Watch:
    """The task, its events in order, and its text by attempt."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.version = 0
        """Moves with every change; `task_version` only when more than text did."""
        self.task_version = 0
        self.is_loaded = False
        self.events: list[Row] = []
        self._assigned: dict[int, str] = {}
        self._texts: dict[tuple[int, str], AttemptText] = {}
        self._story = Story(task_id)
        self._unstarted: Row | None = None
        self._payload: Any = None
        self._is_running = False
        self._early: list[Record] = []
        self._ignored = 0

    @property
    def is_terminal(self) -> bool:
        return self._story.is_terminal

    @property
    def is_assigned(self) -> bool:
        """An attempt lives, and nothing says yet that it runs."""
        return self._story.is_live and not self._is_running

    def load(self, records: list[Record], unstarted: Row | None) -> None:
        """What was stored before the watch began; entries that came meanwhile follow it.

        `unstarted` is the task with its payload where the ledger does not know it yet.
        """
        if unstarted is not None:
            self._unstarted, self._payload = unstarted, unstarted["payload"]
        self.is_loaded = True
        for record in records + self._early:
            self._fold(record)
        self._early = []
        self._changed()

    def entry(self, record: Record) -> None:
        """A ledger entry of this task, as it is stored."""
        if not self.is_loaded:
            self._early.append(record)
            return
        self._fold(record)
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self.task_version += 1

    def _fold(self, record: Record) -> None:
        story = self._story
        if record.seq <= story.expect:
            return
        where = parse_ledger(record.subject)
        ignored = story.apply(record.seq, where, record.entry, record.stored_at)
        self._ignored += ignored is not None
        if ignored is None or self._ignored <= MOST_IGNORED:
            self.events.append(brief_event(record, ignored))
        if ignored is None and isinstance(record.entry, (Assigned, Hedged)):
            self._is_running = self._is_running and isinstance(record.entry, Hedged)
            self._assigned[record.entry.attempt] = record.entry.agent_id
            self._text(record.entry.attempt, record.entry.agent_id)
        if story.envelope is not None:
            self._payload = story.envelope.payload

    def _text(self, attempt: int, agent_id: str) -> AttemptText:
        return self._texts.setdefault((attempt, agent_id), AttemptText(attempt, agent_id))

    def chunk(self, agent_id: str, attempt: int, chunk: Chunk) -> None:
        """A piece of partial output. It counts once the ledger says that the attempt is this agent's."""
        if (attempt, agent_id) not in self._texts and len(self._texts) >= MOST_TEXTS:
            return
        if self._text(attempt, agent_id).add(chunk):
            self.version += 1
            if (attempt, agent_id) in self._story.live_attempts:
                self.runs()

    @property
    def attempts(self) -> list[AttemptText]:
        """The text of every attempt that was assigned, in order."""
        return [self._text(number, agent_id) for number, agent_id in sorted(self._assigned.items())]

    def runs(self) -> None:
        """A sign that the live attempt is running."""
        if self._story.is_live and not self._is_running:
            self._is_running = True
            self._changed()

    def task(self) -> Row | None:
        """The task with payload and result; None while nobody knows it."""
        if self._story.phase is Phase.UNWRITTEN:
            return self._unstarted
        return story_object(self._story, self._is_running) | {"payload": self._payload}

    def since(self, had: Position) -> tuple[dict[str, Any], Position]:
        """What the holder of a position lacks, and the position after it."""
        now = Position(
            self.version,
            self.task_version,
            len(self.events),
            {text.attempt: text.length for text in self.attempts},
            {text.attempt: text.progress for text in self.attempts},
            is_some=True,
        )
        step: dict[str, Any] = {"attempts": [self._step(a, had) for a in self._moved(had)]}
        if had.task_version < self.task_version:
            step["task"] = self.task()
            step["events"] = self.events[had.events :]
        return step, now

    def _moved(self, had: Position) -> list[AttemptText]:
        return [
            text
            for text in self.attempts
            if text.length > had.chars.get(text.attempt, -1)
            or text.progress != had.progress.get(text.attempt)
        ]

    def _step(self, text: AttemptText, had: Position) -> dict[str, Any]:
        offset = had.chars.get(text.attempt, 0)
        return {
            "attempt": text.attempt,
            "agent": text.agent_id,
            "offset": offset,
            "text": text.text[offset:],
            "progress": text.progress,
            "cut": text.is_cut,
        }
