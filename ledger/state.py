"""What of the ledger still matters: its entries up to one sequence, less those that can change nothing.

Pure. The state is kept as entries, without payloads and results, and not as anybody's memory: whoever folds
them in order, and then what follows in the ledger, knows what a fold of everything would have taught. So a
part that folds a new sort of entry needs at most a holder here that says which of them to keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import merge
from typing import Protocol

from outrider.broker.codec import dump, load
from outrider.broker.errors import OutriderError
from outrider.broker.follower import Stored
from outrider.ledger.control import CONTROL_TYPES
from outrider.ledger.entries import ENTRY_CLASSES, MEMBER_TYPES
from outrider.ledger.keeping import Controls, Members, Stories

MOST_BYTES = 256 * 1024 * 1024
"""Larger states are not kept as snapshots: some 200,000 open tasks."""


class Holder(Protocol):
    """Keeps the entries of one sort that still matter.

    `rules` changes whenever that rule does; `tokens` are the second tokens of the subjects it wants to see.
    """

    rules: str
    tokens: frozenset[str]

    def fold(self, stored: Stored) -> None:
        """Take the next entry, in ledger order."""

    def kept(self) -> Iterable[Stored]:
        """The entries that still matter, in ledger order."""

    def counts(self) -> dict[str, int]:
        """What there is, for people."""


HOLDERS: dict[str, Callable[[], Holder]] = {"ledger": Stories, "member": Members, "control": Controls}
"""Who keeps what, by name."""


def rules() -> list[str]:
    """What this program folds and keeps. A state that was made by other rules is of no use to it."""
    holders = [f"{token}:{make().rules}" for token, make in sorted(HOLDERS.items())]
    return [*holders, *sorted(ENTRY_CLASSES), *sorted(MEMBER_TYPES), *sorted(CONTROL_TYPES)]


@dataclass(frozen=True, slots=True)
class Kept:
    """The entries that stand for the ledger up to `seq`, in its order."""

    seq: int = 0
    entries: list[Stored] = field(default_factory=list)


class LedgerState:
    """The state at sequence `seq`. Equal ledgers give equal states, bit for bit."""

    def __init__(self, kept: Kept | None = None) -> None:
        """Go on from what was kept, or begin before the first entry."""
        self._holders = [make() for make in HOLDERS.values()]
        self.seq = 0
        if kept is not None:
            for stored in kept.entries:
                self.fold(stored)
            self.seq = kept.seq

    def fold(self, stored: Stored) -> None:
        """Fold the next entry, in ledger order."""
        self.seq = stored.seq
        token = stored.subject.split(".", 2)[1]
        for holder in self._holders:
            if token in holder.tokens:
                holder.fold(stored)

    def kept(self) -> list[Stored]:
        """Every entry that still matters, in ledger order."""
        return list(merge(*(holder.kept() for holder in self._holders), key=lambda s: s.seq))

    def counts(self) -> dict[str, int]:
        """How many there are of what, for people."""
        return {name: n for holder in self._holders for name, n in holder.counts().items()}

    def packed(self) -> bytes:
        """The state as bytes: equal states give equal bytes."""
        return dump([[s.seq, s.subject, s.stored_at, s.data] for s in self.kept()])

    @property
    def digest(self) -> str:
        """SHA-256 over the state and its sequence."""
        return digest_of(self.seq, self.packed())


def digest_of(seq: int, packed: bytes) -> str:
    """SHA-256 of a packed state at a sequence."""
    return hashlib.sha256(b"%d\n" % seq + packed).hexdigest()


def unpacked(seq: int, packed: bytes, first_seq: int = 0) -> Kept:
    """The entries in these bytes, without those of tasks before `first_seq`: the ledger has forgotten them.

    Raises OutriderError for anything else.
    """
    try:
        found = [Stored(subject, data, at, when, 0) for at, subject, when, data in load(packed, MOST_BYTES)]
    except (TypeError, ValueError) as error:
        raise OutriderError(f"the state cannot be read: {error}") from None
    return Kept(seq, [s for s in found if s.seq >= first_seq or ".ledger." not in s.subject])
