"""Partial output of one attempt: joined, numbered, confirmed one after the other, so in order and complete.

Knows the wire and nothing of handlers. One chunk is under way at a time; what is emitted meanwhile, and
within BATCH_S after a chunk was sent, travels together in the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from outrider.broker.codec import encode
from outrider.broker.errors import OutcomeUnknown, OutriderError
from outrider.broker.messages import Chunk, ChunkType
from outrider.broker.pipeline import Appender

log = logging.getLogger(__name__)

BATCH_S = 0.05
PART_CHARS = 64 * 1024
"""Text in one chunk: four bytes a sign at most, so always below the size of a message."""
HURRY_CHARS = 4 * 1024
MOST_WAITING_CHARS = 256 * 1024
MOST_WAITING_PIECES = 256
REFUSED_FOR_S = 10.0
PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Route:
    """Where an attempt's chunks go. `id_prefix` lets the server drop a chunk that is sent again."""

    subject: str
    id_prefix: str


class Room:
    """Awaited after an `add`: goes on at once unless too much is unsent."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ChunkStream) -> None:
        self._stream = stream

    def __await__(self) -> Generator[Any, None, None]:
        return self._stream.wait_for_room().__await__()


class ChunkStream:
    """The chunks of one attempt. `add` from the loop's own thread, `add_from_thread` from any other."""

    def __init__(
        self, appender: Appender, route: Route, loop: asyncio.AbstractEventLoop, loop_thread: int
    ) -> None:
        self._appender = appender
        self._route = route
        self._loop = loop
        self._loop_thread = loop_thread
        self._waiting: deque[list[str] | Chunk] = deque()
        self._chars = 0
        self._offset = 0
        self._is_closed = False
        self._is_flushing = False
        self._hurry = asyncio.Event()
        self._sent = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self.room = Room(self)

    @property
    def is_own_thread(self) -> bool:
        return threading.get_ident() == self._loop_thread

    @property
    def _is_full(self) -> bool:
        return self._chars > MOST_WAITING_CHARS or len(self._waiting) > MOST_WAITING_PIECES

    def add(self, item: str | Chunk) -> Room:
        """Take text, or a chunk of its own; await the answer to wait for room."""
        if not self._is_closed:
            self._put(item)
            if self._sender is None or self._sender.done():
                self._sender = self._loop.create_task(self._send_waiting())
            if self._chars >= HURRY_CHARS or len(self._waiting) > MOST_WAITING_PIECES // 2:
                self._hurry.set()
        return self.room

    async def wait_for_room(self) -> None:
        while self._is_full and not self._is_closed:
            self._sent.clear()
            await self._sent.wait()

    def add_from_thread(self, item: str | Chunk) -> None:
        """Take an item from another thread; blocks it while there is no room."""

        async def add() -> None:
            await self.add(item)

        if self._is_full:
            asyncio.run_coroutine_threadsafe(add(), self._loop).result()
        else:
            self._loop.call_soon_threadsafe(self.add, item)

    def _put(self, item: str | Chunk) -> None:
        last = self._waiting[-1] if self._waiting else None
        if isinstance(item, str):
            self._chars += len(item)
            if isinstance(last, list):
                last.append(item)
            else:
                self._waiting.append([item])
        elif isinstance(last, Chunk) and last.type is item.type is ChunkType.PROGRESS:
            self._waiting[-1] = item
        else:
            self._waiting.append(item)

    async def _send_waiting(self) -> None:
        while self._waiting:
            # Only what is here now: what comes meanwhile shall gather.
            for _ in range(len(self._waiting)):
                await self._send_next()
            if not self._is_flushing:
                await self._pause()

    async def _pause(self) -> None:
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), BATCH_S)

    async def _send_next(self) -> None:
        if self._waiting:
            for chunk in self._next():
                await self._store(chunk)
            self._sent.set()

    def _next(self) -> list[Chunk]:
        item = self._waiting.popleft()
        if isinstance(item, Chunk):
            return [item]
        text = "".join(item)
        self._chars -= len(text)
        return [Chunk(0, data=text[at : at + PART_CHARS]) for at in range(0, len(text), PART_CHARS)]

    async def _store(self, chunk: Chunk) -> None:
        data = encode(Chunk(self._offset, chunk.type, chunk.data, chunk.progress))
        headers = {"Nats-Msg-Id": f"{self._route.id_prefix}.{self._offset}"}
        refused_since = 0.0
        while not self._is_closed:
            try:
                await self._appender.append(self._route.subject, data, headers)
                self._offset += 1
                return
            except OutcomeUnknown:
                continue
            except OutriderError as problem:
                now = self._loop.time()
                refused_since = refused_since or now
                if now - refused_since > REFUSED_FOR_S:
                    log.warning("partial output of %s is given up: %s", self._route.subject, problem)
                    self._drop()
                    return
                await asyncio.sleep(PAUSE_S)

    async def flush(self) -> None:
        """Return when everything that was added is stored, or given up."""
        self._is_flushing = True
        while self._sender is not None and not self._sender.done():
            self._hurry.set()
            await asyncio.wait({self._sender})
        self._drop()

    def close(self) -> None:
        """Take and send nothing more."""
        self._drop()
        if self._sender is not None:
            self._sender.cancel()

    def _drop(self) -> None:
        self._is_closed = True
        self._waiting.clear()
        self._chars = 0
        self._sent.set()
