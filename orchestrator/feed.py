"""What the ledger says, in order: everything at first, later only what others write.

An orchestrator that is alone need not receive back what it wrote; at another's first pulse it follows
everything again, from the last sequence that it folded.
"""

from __future__ import annotations

import asyncio

from outrider.broker.background import Background
from outrider.broker.connection import Connection
from outrider.broker.follower import Follower, OnStored
from outrider.broker.subjects import Subjects


class LedgerFeed:
    """Follows the ledger with the narrowest filter that misses nothing."""

    def __init__(
        self, connection: Connection, subjects: Subjects, on_replayed: OnStored, on_stored: OnStored
    ) -> None:
        """`on_replayed` gets what was stored before the start and may wait; `on_stored` must not."""
        self._connection = connection
        self._subjects = subjects
        self._on_replayed = on_replayed
        self._on_stored = on_stored
        self._is_alone = True
        self._changed = asyncio.Event()
        self.caught_up = asyncio.Event()
        """Set once all that was stored at the start has been handled."""

    def not_alone(self) -> None:
        """Another orchestrator pulses: its entries matter too."""
        if self._is_alone:
            self._is_alone = False
            self._changed.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        last_seq = await self._follow(self._everything(), 0, until_caught_up=True)
        self.caught_up.set()
        while True:
            self._changed.clear()
            filters = self._others() if self._is_alone else self._everything()
            last_seq = await self._follow(filters, last_seq, until_caught_up=False)

    def _everything(self) -> list[str]:
        return [self._subjects.all_ledger, self._subjects.all_members]

    def _others(self) -> list[str]:
        return [self._subjects.agent_outcomes, self._subjects.all_members]

    async def _follow(self, filters: list[str], after: int, *, until_caught_up: bool) -> int:
        on_stored = self._on_replayed if until_caught_up else self._on_stored
        stream = self._subjects.ledger_stream
        follower = Follower(
            self._connection, stream, filters, on_stored, after, is_direct=not until_caught_up
        )
        until = follower.caught_up if until_caught_up else self._changed
        async with Background() as background:
            background.spawn(follower.run())
            await until.wait()
            follower.stop()
        return follower.last_seq
