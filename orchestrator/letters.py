"""Which dead letters there are: a bounded index, so that listing them needs no walk through the ledger.

Pure. It only says where to look; the ledger is what counts, and is read before anything is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from outrider.ledger.control import LETTER_TYPES, Control
from outrider.ledger.entries import Closed


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter that is neither requeued nor discarded."""

    seq: int
    """Of its `dead` entry."""
    task_id: str
    kind: str
    error_class: str
    attempts: int
    died_at: float
    """On the orchestrator's own monotonic clock."""


@dataclass(slots=True)
class LetterIndex:
    """The newest dead letters, up to `most`; beyond that the oldest are only counted."""

    most: int
    unlisted: int = 0
    complete_to: int = 0
    """Up to this sequence of the ledger every letter was folded: what comes back of that was dealt with."""
    _open: dict[int, Letter] = field(default_factory=dict)
    _settled: dict[int, None] = field(default_factory=dict)
    """Those requeued or discarded, so that an entry that is heard again does not bring them back."""

    def __len__(self) -> int:
        return len(self._open)

    def add(self, letter: Letter) -> None:
        if letter.seq <= self.complete_to or letter.seq in self._settled or letter.seq in self._open:
            return
        self._open[letter.seq] = letter
        if len(self._open) > self.most:
            del self._open[next(iter(self._open))]
            self.unlisted += 1

    def settle(self, control: Control) -> None:
        """Somebody requeued or discarded one: it is not listed any more."""
        if control.type not in LETTER_TYPES:
            return
        self._open.pop(control.dead_seq, None)
        self._settled[control.dead_seq] = None
        if len(self._settled) > self.most:
            del self._settled[next(iter(self._settled))]

    def forget(self, seq: int) -> None:
        """The ledger does not hold it any more."""
        self._open.pop(seq, None)

    def newest_first(self) -> list[Letter]:
        return sorted(self._open.values(), key=lambda letter: -letter.seq)


def letter_of(entry: Closed, seq: int, kind: str, attempts: int, died_at: float) -> Letter:
    """The letter that a `dead` entry makes."""
    return Letter(seq, entry.task_id, entry.kind or kind, entry.error_class, attempts, died_at)
