"""Deliberate defects of snapshots that the simulator must notice."""

from __future__ import annotations

from outrider.broker.codec import load
from outrider.broker.follower import Stored
from outrider.broker.schema import from_map
from outrider.ledger import keeping, snapshot
from outrider.ledger.state import LedgerState
from tests.sim.planting import Swap, bug


@bug
def snapshot_forgets_a_live_attempt() -> list[Swap]:
    real = keeping.Stories.kept

    def kept(self: keeping.Stories) -> list[Stored]:
        live = {task_id for task_id, task in self._open.items() if task.story.is_live}
        return [stored for stored in real(self) if stored.subject.split(".")[2] not in live]

    return [(keeping.Stories, "kept", kept)]


@bug
def snapshot_of_a_later_sequence() -> list[Swap]:
    """It is said to be valid one entry later than it is."""
    real = snapshot.take

    def take(fleet: str, state: LedgerState, anchor: str) -> snapshot.Snapshot:
        packed = LedgerState()
        for stored in state.kept():
            if stored.seq < state.seq:
                packed.fold(stored)
        packed.seq = state.seq
        return real(fleet, packed, anchor)

    return [(snapshot, "take", take)]


@bug
def damaged_snapshot_trusted() -> list[Swap]:
    def read(data: bytes, _: str) -> snapshot.Snapshot:
        return from_map(snapshot.Snapshot, load(data))

    return [(snapshot, "read", read)]
