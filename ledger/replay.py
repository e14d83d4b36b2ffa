"""Folds the ledger up to one sequence: the same state every time, whoever asks and wherever it begins."""

from __future__ import annotations

from outrider.broker.background import Background
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.follower import Follower, Stored
from outrider.broker.subjects import Subjects
from outrider.ledger.snapshot import anchor_of
from outrider.ledger.state import LedgerState


async def bounds(connection: Connection, subjects: Subjects) -> tuple[int, int]:
    """First and last sequence of the ledger. Raises OutriderError when there is none."""
    state = (await connection.api(f"STREAM.INFO.{subjects.ledger_stream}"))["state"]
    return int(state["first_seq"]), int(state["last_seq"])


class Replay:
    """One pass over the ledger, from a state to a later sequence."""

    def __init__(self, connection: Connection, subjects: Subjects, state: LedgerState) -> None:
        self._connection = connection
        self._subjects = subjects
        self.state = state
        self.anchor = ""
        """Of the entry at the state's sequence, once anything was folded."""
        self._until = 0
        self._follower: Follower | None = None

    async def to(self, seq: int) -> LedgerState:
        """Fold up to `seq`. Raises OutriderError when the ledger does not reach it."""
        _, last_seq = await bounds(self._connection, self._subjects)
        if seq > last_seq:
            raise OutriderError(f"the ledger reaches {last_seq} only", hint="ask for an earlier sequence")
        self._until = seq
        if self.state.seq < seq:
            await self._follow()
        return self.state

    async def _follow(self) -> None:
        s = self._subjects
        filters = [s.all_ledger, s.all_members, s.all_control]
        follower = Follower(
            self._connection, s.ledger_stream, filters, self._stored, self.state.seq, is_direct=True
        )
        self._follower = follower
        async with Background() as background:
            running = background.spawn(follower.run())
            caught_up = background.spawn(follower.caught_up.wait())
            running.add_done_callback(lambda _: caught_up.cancel())
            caught_up.add_done_callback(lambda _: follower.stop())
        self.state.seq = self._until

    async def _stored(self, stored: Stored) -> None:
        if stored.seq <= self._until:
            self.state.fold(stored)
            if stored.seq == self._until:
                self.anchor = anchor_of(stored)
        if stored.seq >= self._until and self._follower is not None:
            self._follower.stop()
