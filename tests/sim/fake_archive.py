"""Twin of ledger/archive.py and of the snapshot writer: real states in real bytes, some of them damaged.

It draws from a generator of its own, so that a seed's other events are the same with and without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from outrider.broker.codec import dump, encode, load
from outrider.broker.errors import OutriderError
from outrider.broker.follower import Stored
from outrider.ledger import snapshot as snapshots
from outrider.ledger.archive import MOST_SNAPSHOTS
from outrider.ledger.control import decode_control
from outrider.ledger.entries import decode_entry, decode_member
from outrider.ledger.state import Kept, LedgerState
from tests.sim.fake_jetstream import FakeStream, Message

DAMAGED = 0.25
FLEET = "t"
DECODERS: dict[str, Callable[[bytes], object]] = {
    "ledger": decode_entry,
    "member": decode_member,
    "control": decode_control,
}


def as_stored(message: Message) -> Stored:
    return Stored(message.subject, encode(message.data), message.seq, message.stored_at, 0)


def as_message(stored: Stored) -> Message:
    decode = DECODERS[stored.subject.split(".", 2)[1]]
    return Message(stored.seq, stored.subject, decode(stored.data), stored.stored_at)


class FakeArchive:
    """Snapshots of one ledger, at every mark that somebody saw passed."""

    def __init__(self, ledger: FakeStream, seed: int) -> None:
        self._random = Random(f"snapshots {seed}")
        self.every = self._random.choice((0, 5, 12, 30))
        self._ledger = ledger
        self._state = LedgerState()
        self._objects: dict[int, bytes] = {}

    def passed(self, seq: int) -> None:
        """Keep the state at the last mark up to `seq`, as the writer does."""
        mark = seq // self.every * self.every if self.every else 0
        if mark <= self._state.seq:
            return
        for number in range(self._state.seq + 1, mark + 1):
            self._state.fold(as_stored(self._ledger.messages[number]))
        anchor = snapshots.anchor_of(as_stored(self._ledger.messages[mark]))
        taken = snapshots.take(FLEET, self._state, anchor)
        self._objects[mark] = self._perhaps_damaged(taken)
        for old in sorted(self._objects)[:-MOST_SNAPSHOTS]:
            del self._objects[old]

    def _perhaps_damaged(self, taken: snapshots.Snapshot) -> bytes:
        """A byte is another, or a part of the state lacks."""
        data = bytearray(snapshots.written(taken))
        if self._random.random() >= DAMAGED:
            return bytes(data)
        if self._random.random() < 0.5:
            entries = load(taken.state)
            return snapshots.written(replace(taken, state=dump(entries[: len(entries) // 2])))
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(data)

    def newest(self) -> Kept:
        """As Archive.newest: the newest that can be trusted, or nothing."""
        for seq in sorted(self._objects, reverse=True):
            try:
                found = snapshots.read(self._objects[seq], FLEET)
                anchor = snapshots.anchor_of(as_stored(self._ledger.messages[seq]))
                return snapshots.restored(found, 1, self._ledger.last_seq, anchor)
            except OutriderError:
                continue
        return Kept()
