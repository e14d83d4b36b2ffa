"""What the ledger says, in order: everything at first, later only what others write.

An orchestrator that is alone need not receive back what it wrote; at another's first pulse it follows
everything again, from where it can be sure that nothing of the other was passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from outrider.broker.background import Background
from outrider.broker.connection import Connection
from outrider.broker.follower import Follower, OnStored, Stored
from outrider.broker.subjects import Subjects
from outrider.ledger.state import Kept

log = logging.getLogger(__name__)

Restore = Callable[[], Awaitable[Kept]]
"""What stands for the oldest part of the ledger; nothing when there is no snapshot to trust."""


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
        *,
        restore: Restore | None = None,
    ) -> None:
        """`on_replayed` gets what was stored before the start and may wait; `on_stored` must not.

        What `restore` brings stands for the ledger up to its sequence.

        Who is there pulses several times in `watch_s`.
        """
        self._connection = connection
        self._subjects = subjects
        self._own = f".orchestrator.{me}"
        self._watch_s = watch_s
        self._on_replayed = on_replayed
        self._on_stored = on_stored
        self._restore = restore
        self._newest: Follower | None = None
        self._has_company = False
        self._stirred = asyncio.Event()
        """Somebody pulsed, or our link was away: who came and went meanwhile?"""
        self._alone_until = 0
        self.caught_up = asyncio.Event()
        """Set once all that was stored at the start has been handled."""

    def not_alone(self) -> None:
        """Another orchestrator pulses: its entries matter too."""
        self._has_company = True
        self._stirred.set()

    @property
    def seq(self) -> int:
        """The last entry that was handled."""
        return self._newest.last_seq if self._newest is not None else 0

    async def run(self) -> None:
        """Follow until cancelled."""
        complete_to = await self._replay(await self._begin(), self._on_replayed)
        self.caught_up.set()
        while not self._has_company:
            complete_to = await self._follow_others(complete_to)
            if not self._has_company:
                complete_to = await self._replay(complete_to, self._again)
        await self._follower(self._everything(), self._again, complete_to, is_direct=True).run()

    async def _begin(self) -> int:
        """Hand over the restored state, if there is one; returns its sequence."""
        kept = await self._restore() if self._restore is not None else Kept()
        for stored in kept.entries:
            await self._on_replayed(stored)
        if kept.seq:
            log.info("starting from the snapshot at %d, with %d entries", kept.seq, len(kept.entries))
        return kept.seq

    def _everything(self) -> list[str]:
        return [self._subjects.all_ledger, self._subjects.all_members, self._subjects.all_control]

    def _others(self) -> list[str]:
        return [self._subjects.agent_outcomes, self._subjects.all_members, self._subjects.all_control]

    def _follower(self, filters: list[str], handle: OnStored, after: int, *, is_direct: bool) -> Follower:
        stream = self._subjects.ledger_stream
        self._newest = Follower(self._connection, stream, filters, handle, after, is_direct=is_direct)
        return self._newest

    async def _replay(self, after: int, handle: OnStored) -> int:
        """Follow everything as far as there is anything; returns the last sequence."""
        follower = self._follower(self._everything(), handle, after, is_direct=False)
        async with Background() as background:
            background.spawn(follower.run())
            await follower.caught_up.wait()
            follower.stop()
        return follower.last_seq

    async def _follow_others(self, after: int) -> int:
        """Follow what others write until something stirs; returns the sequence to follow everything from.

        That lies a watch or two back: the other may have written before its pulse was heard.
        """
        self._stirred.clear()
        follower = self._follower(self._others(), self._on_stored, after, is_direct=True)
        complete_to = recent = after
        self._connection.on_link(self._link_changed)
        try:
            async with Background() as background:
                background.spawn(follower.run())
                while not await self._is_stirred():
                    if self._connection.is_connected:
                        complete_to, recent = recent, follower.last_seq
                follower.stop()
        finally:
            self._connection.off_link(self._link_changed)
        self._alone_until = follower.last_seq
        return complete_to

    async def _is_stirred(self) -> bool:
        """Whether anything stirs within one watch."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stirred.wait(), self._watch_s)
        return self._stirred.is_set()

    def _link_changed(self, is_up: bool) -> None:
        if is_up:
            self._stirred.set()

    async def _again(self, stored: Stored) -> None:
        """Our own entries from the time alone were folded from their receipts; their tasks may be over."""
        if stored.seq > self._alone_until or not stored.subject.endswith(self._own):
            await self._on_stored(stored)
