"""A task's partial output, from its first piece, in order, of the attempt that counts.

Pieces come from the CHUNKS stream, so a late reader misses nothing. The ledger says which attempt of which
agent they must belong to; all others are passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from outrider.broker.background import Background
from outrider.broker.codec import decode
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import Follower, Stored
from outrider.broker.messages import Chunk, ChunkType
from outrider.broker.subjects import Subjects, parse_chunk
from outrider.client.reading import Reader
from outrider.client.watching import Watch, Watcher

MOST_UNREAD = 1024
LAST_PIECES_WITHIN_S = 2.0


class Piece(NamedTuple):
    """One piece of output or one report of progress; `offset` counts the pieces of the attempt from 0."""

    attempt: int
    offset: int
    type: ChunkType
    data: Any
    progress: float | None


class _End(NamedTuple):
    """The task is over; the last of its pieces has this sequence. Or reading failed."""

    last_seq: int
    error: BaseException | None = None


class Start(NamedTuple):
    """Where reading begins: a piece of an attempt; without `attempt`, of the one that counts.

    Any other attempt begins anew, so of that one everything is read.
    """

    from_offset: int = 0
    attempt: int | None = None


class ChunkReader:
    """Reads the pieces of one task."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        reader: Reader,
        watcher: Watcher,
        watch: Watch,
        start: Start = Start(),  # noqa: B008 - it is immutable
    ) -> None:
        self._reader = reader
        self._watcher = watcher
        self._watch = watch
        self._arrived: asyncio.Queue[Stored | _End] = asyncio.Queue(MOST_UNREAD)
        filters = [subjects.chunks_of(watch.task_id)]
        self._follower = Follower(connection, subjects.chunks_stream, filters, self._arrived.put)
        self._reached = 0
        self._attempt, self._next_offset = start.attempt or 0, start.from_offset
        """What is wanted next; 0 before the first attempt."""

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """All pieces until the task is over."""
        feeding = asyncio.create_task(self._feed())
        try:
            async with contextlib.aclosing(self._stored()) as arrived:
                async for stored in arrived:
                    for piece in await self._judge(stored):
                        yield piece
                for piece in await self._of_winner():
                    yield piece
        finally:
            self._follower.stop()
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding

    async def _feed(self) -> None:
        try:
            async with Background() as background:
                following = background.spawn(self._follower.run())
                await self._watcher.until_over(self._watch)
                await self._arrived.put(_End(await self._reader.last_chunk(self._watch.task_id)))
                await asyncio.wait([following])
        except OutriderError as error:
            await self._arrived.put(_End(0, error))

    async def _stored(self) -> AsyncGenerator[Stored, None]:
        end: _End | None = None
        while end is None or self._reached < end.last_seq:
            try:
                async with asyncio.timeout(LAST_PIECES_WITHIN_S if end else None):
                    item = await self._arrived.get()
            except TimeoutError:
                return
            if isinstance(item, _End):
                end = item
                if end.error is not None:
                    raise end.error
                continue
            self._reached = item.seq
            yield item

    async def _judge(self, stored: Stored) -> list[Piece]:
        try:
            agent_id, _, attempt = parse_chunk(stored.subject)
            chunk = decode(Chunk, stored.data)
        except DecodeError:
            return []
        if attempt > self._watch.story.newest:
            await self._watcher.refresh(self._watch)
        if not self._counts(attempt, agent_id):
            return []
        if attempt < self._attempt:
            return await self._again(attempt, agent_id)
        return self._take(attempt, chunk)

    def _counts(self, attempt: int, agent_id: str) -> bool:
        """Whether the attempt's pieces are shown: while two live, the older one's until the newer has any."""
        story = self._watch.story
        if story.other is None:
            return (attempt, agent_id) == (story.attempt, story.agent_id)
        return (attempt, agent_id) in story.live_attempts and attempt >= self._attempt

    def _take(self, attempt: int, chunk: Chunk) -> list[Piece]:
        if attempt != self._attempt:
            first = 0 if self._attempt else self._next_offset
            self._attempt, self._next_offset = attempt, first
        if chunk.offset < self._next_offset:
            return []
        self._next_offset = chunk.offset + 1
        return [Piece(attempt, chunk.offset, chunk.type, chunk.data, chunk.progress)]

    async def _of_winner(self) -> list[Piece]:
        """The pieces of the attempt that won, if those of the other were shown."""
        story = self._watch.story
        return await self._again(story.attempt, story.agent_id) if story.attempt < self._attempt else []

    async def _again(self, attempt: int, agent_id: str) -> list[Piece]:
        """The newer of two attempts ended without success: all pieces of the other, from its first."""
        found: list[Piece] = []
        for stored in await self._reader.chunks_of(agent_id, self._watch.task_id, attempt):
            with contextlib.suppress(DecodeError):
                found += self._take(attempt, decode(Chunk, stored.data))
        return found
