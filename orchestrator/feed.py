"""What the ledger says, in order: everything at first, later only what others write.

An orchestrator that is alone need not receive back what it wrote; at another's first pulse it follows
everything again, from where it can be sure that nothing of the other was passed over.
"""

from __future__ import annotations

import asyncio
import contextlib

from outrider.broker.background import Background
from outrider.broker.connection import Connection
from outrider.broker.follower import Follower, OnStored, Stored
from outrider.broker.subjects import Subjects


class LedgerFeed:
    """Follows the ledger with the narrowest filter that misses nothing."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        me: str,
        watch_s: float,
        on_replayed: OnStored,
        on_stored: OnStored,
    ) -> None:
        """`on_replayed` gets what was stored before the start and may wait; `on_stored` must not.

        Who is there pulses several times in `watch_s`.
        """
        self._connection = connection
        self._subjects = subjects
        self._own = f".orchestrator.{me}"
        self._watch_s = watch_s
        self._on_replayed = on_replayed
        self._on_stored = on_stored
        self._company = asyncio.Event()
        self._is_quiet = True
        self._alone_until = 0
        self.caught_up = asyncio.Event()
        """Set once all that was stored at the start has been handled."""

    def not_alone(self) -> None:
        """Another orchestrator pulses: its entries matter too."""
        self._company.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        last_seq = await self._replay()
        self.caught_up.set()
        complete_to = await self._follow_others(last_seq)
        await self._follower(self._everything(), self._again, complete_to, is_direct=True).run()

    def _everything(self) -> list[str]:
        return [self._subjects.all_ledger, self._subjects.all_members]

    def _others(self) -> list[str]:
        return [self._subjects.agent_outcomes, self._subjects.all_members]

    def _follower(self, filters: list[str], handle: OnStored, after: int, *, is_direct: bool) -> Follower:
        stream = self._subjects.ledger_stream
        return Follower(self._connection, stream, filters, handle, after, is_direct=is_direct)

    async def _replay(self) -> int:
        follower = self._follower(self._everything(), self._on_replayed, 0, is_direct=False)
        async with Background() as background:
            background.spawn(follower.run())
            await follower.caught_up.wait()
            follower.stop()
        return follower.last_seq

    async def _follow_others(self, after: int) -> int:
        """Follow what others write until one pulses; returns the sequence to follow everything from.

        That lies a watch or two back: the other may have written before its pulse was heard, above all
        while our link was down.
        """
        follower = self._follower(self._others(), self._on_stored, after, is_direct=True)
        complete_to = recent = after
        self._connection.on_link(self._link_changed)
        try:
            async with Background() as background:
                background.spawn(follower.run())
                while not await self._has_company():
                    if self._is_quiet and self._connection.is_connected:
                        complete_to, recent = recent, follower.last_seq
                    self._is_quiet = True
                follower.stop()
        finally:
            self._connection.off_link(self._link_changed)
        self._alone_until = follower.last_seq
        return complete_to

    async def _has_company(self) -> bool:
        """Whether anybody pulsed within one watch."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._company.wait(), self._watch_s)
        return self._company.is_set()

    def _link_changed(self, _: bool) -> None:
        self._is_quiet = False

    async def _again(self, stored: Stored) -> None:
        """Our own entries from the time alone were folded from their receipts; their tasks may be over."""
        if stored.seq > self._alone_until or not stored.subject.endswith(self._own):
            await self._on_stored(stored)
