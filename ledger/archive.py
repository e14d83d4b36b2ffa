"""Snapshots of the ledger in the object store: the newest that can be trusted, and those that are kept.

I/O only: what a snapshot is and when it fits stands in `snapshot.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from outrider.broker.bucket import Bucket
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import StreamReader
from outrider.broker.pipeline import Appender
from outrider.broker.subjects import Subjects
from outrider.ledger.replay import bounds
from outrider.ledger.snapshot import Snapshot, UnfitSnapshot, anchor_of, read, restored, written
from outrider.ledger.state import Kept

log = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES_S = (0.2, 1.0, 3.0)
MOST_SNAPSHOTS = 3
BUCKET_BYTES = 1024**3


class Archive:
    """The snapshots of one fleet."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self._connection = connection
        self._subjects = subjects
        self._bucket = Bucket(connection, subjects.snapshots_bucket)
        self._ledger = StreamReader(connection, subjects.ledger_stream)

    async def seqs(self) -> list[int]:
        """Sequences of the snapshots that are there, oldest first."""
        return [int(name) for name in await self._bucket.names() if name.isdigit()]

    async def newest(self, at: int | None = None) -> Kept:
        """What the newest sound snapshot keeps, not after `at`; nothing when there is none.

        Whatever is odd about a snapshot means an older one, with a line in the log. Never raises for that.
        """
        try:
            seqs = await patiently(self.seqs)
        except OutriderError as error:
            log.warning("the snapshots cannot be listed: %s; folding the whole ledger", error)
            return Kept()
        for seq in reversed([seq for seq in seqs if at is None or seq <= at]):
            try:
                return await patiently(partial(self._load, seq))
            except OutriderError as error:
                log.warning("snapshot %d is not used: %s", seq, error.message)
        return Kept()

    async def _load(self, seq: int) -> Kept:
        data = await self._bucket.get(f"{seq:020d}")
        if data is None:
            raise UnfitSnapshot("it is gone")
        # In a thread: a large one takes seconds, in which the connection wants to be kept alive.
        snapshot = await asyncio.to_thread(read, data, self._subjects.fleet)
        if snapshot.seq != seq:
            raise UnfitSnapshot(f"it speaks of sequence {snapshot.seq}")
        first_seq, last_seq = await bounds(self._connection, self._subjects)
        stored = await self._ledger.at(seq)
        anchor = anchor_of(stored) if stored is not None else None
        return await asyncio.to_thread(restored, snapshot, first_seq, last_seq, anchor)

    async def keep(self, appender: Appender, snapshot: Snapshot) -> None:
        """Store a snapshot and let go of all but the newest few. Raises what the store raises."""
        ledger = await self._connection.api(f"STREAM.INFO.{self._subjects.ledger_stream}")
        await self._bucket.create(BUCKET_BYTES, int(ledger["config"].get("num_replicas", 1)))
        await self._bucket.put(appender, snapshot.name, written(snapshot))
        for seq in (await self.seqs())[:-MOST_SNAPSHOTS]:
            await self._bucket.delete(f"{seq:020d}")


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Try again what the server did not answer: folding the whole ledger would take longer by far.

    Raises at once what was read and makes no sense, and in the end whatever comes.
    """
    for pause_s in PAUSES_S:
        try:
            return await read()
        except DecodeError:
            raise
        except OutriderError as error:
            log.info("the snapshots cannot be read now: %s; trying again", error)
            await asyncio.sleep(pause_s)
    return await read()
