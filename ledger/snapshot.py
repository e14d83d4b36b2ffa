"""A state of the ledger as one object that can be kept, and trusted when it is read again.

Pure. It says at which sequence it is valid, by which rules it was made and which entry stood there;
whoever reads it holds it to the ledger, and to its own rules.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from outrider.broker.codec import dump, load
from outrider.broker.errors import DecodeError, PayloadTooLarge
from outrider.broker.follower import Stored
from outrider.broker.schema import from_map, to_map
from outrider.ledger.state import MOST_BYTES, Kept, LedgerState, digest_of, rules, unpacked

FORMAT = "outrider-snapshot"
VERSION = 1
ROOM_BYTES = 64 * 1024
"""More than everything in a snapshot but its state."""


class UnfitSnapshot(DecodeError):
    """A snapshot cannot be used here; an older one or the ledger itself can."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state with what is needed to check it. `state` is packed; `anchor` tells the entry at `seq`."""

    fleet: str
    seq: int
    digest: str
    anchor: str
    rules: tuple[str, ...]
    state: bytes
    format: str = FORMAT
    v: int = VERSION

    @property
    def name(self) -> str:
        """Names sort by sequence."""
        return f"{self.seq:020d}"


def anchor_of(stored: Stored) -> str:
    """What tells one stored entry from any other that could stand at its sequence."""
    return hashlib.sha256(f"{stored.subject}\n".encode() + stored.data).hexdigest()


def take(fleet: str, state: LedgerState, anchor: str) -> Snapshot:
    """The snapshot of a state. `anchor` is that of the entry at its sequence. Raises PayloadTooLarge."""
    packed = state.packed()
    if len(packed) > MOST_BYTES:
        raise PayloadTooLarge(f"a state of {len(packed)} bytes is too large for a snapshot")
    return Snapshot(fleet, state.seq, digest_of(state.seq, packed), anchor, tuple(rules()), packed)


def written(snapshot: Snapshot) -> bytes:
    """The snapshot's bytes."""
    return dump(to_map(snapshot))


def read(data: bytes, fleet: str) -> Snapshot:
    """The snapshot in these bytes, sound in itself. Raises DecodeError or UnfitSnapshot that says why not."""
    snapshot = from_map(Snapshot, load(data, MOST_BYTES + ROOM_BYTES))
    if (snapshot.format, snapshot.v) != (FORMAT, VERSION):
        raise UnfitSnapshot(f"its format {snapshot.format} {snapshot.v} is not known here")
    if snapshot.fleet != fleet:
        raise UnfitSnapshot(f"it is of fleet {snapshot.fleet}")
    if list(snapshot.rules) != rules():
        raise UnfitSnapshot("it was made by a version with other rules")
    if digest_of(snapshot.seq, snapshot.state) != snapshot.digest:
        raise UnfitSnapshot("its state does not have the hash that it names")
    return snapshot


def restored(snapshot: Snapshot, first_seq: int, last_seq: int, anchor: str | None) -> Kept:
    """What was kept, if it is one of the ledger whose first and last sequences and entry at `seq` are given.

    Raises UnfitSnapshot.
    """
    if not first_seq <= snapshot.seq <= last_seq:
        raise UnfitSnapshot(f"the ledger holds {first_seq} to {last_seq}, not its sequence {snapshot.seq}")
    if anchor != snapshot.anchor:
        raise UnfitSnapshot(f"another entry stands at its sequence {snapshot.seq}")
    return unpacked(snapshot.seq, snapshot.state, first_seq)
