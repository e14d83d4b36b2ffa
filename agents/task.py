"""What a handler sees of its attempt: the payload, limits, and ways to report while it works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from outrider.agents.chunks import ChunkStream
from outrider.agents.outcome import TaskError, fault_in
from outrider.broker.codec import MAX_BODY_BYTES, dump
from outrider.broker.messages import Assignment, Chunk, ChunkType
from outrider.broker.outcomes import Usage
from outrider.broker.states import ErrorClass

LARGEST_PIECE_BYTES = MAX_BODY_BYTES - 1024


class Task:
    """One attempt. `emit` and `progress` are awaited in async handlers and simply called in sync ones."""

    __slots__ = (
        "_cancelled",
        "_open_stream",
        "_stream",
        "_used",
        "attempt",
        "deadline_at",
        "epoch",
        "kind",
        "payload",
        "priority",
        "task_id",
        "timeout_s",
    )

    def __init__(self, assignment: Assignment, open_stream: Callable[[Task], ChunkStream]) -> None:
        self.payload: Any = assignment.payload
        self.task_id = assignment.task_id
        self.kind = assignment.kind
        self.attempt = assignment.attempt
        self.epoch = assignment.epoch
        self.priority = assignment.priority
        self.timeout_s = assignment.timeout_s
        self.deadline_at = assignment.deadline_at
        self._open_stream = open_stream
        self._stream: ChunkStream | None = None
        self._used = Usage()
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """The attempt is over, whatever the handler still does; a sync handler should look and return."""
        return self._cancelled

    def emit(self, piece: Any) -> Awaitable[None]:
        """Stream partial output to whoever watches; text pieces are joined, others travel one by one.

        Waits while much is unsent. In a sync handler it raises CancelledError once the attempt is over.
        Raises TaskError (bad_output) for a piece that cannot travel.
        """
        if isinstance(piece, str):
            return self._add(piece)
        fault = fault_in(piece, "piece")
        if not fault and len(dump(piece)) > LARGEST_PIECE_BYTES:
            fault = f"piece is larger than {LARGEST_PIECE_BYTES} bytes"
        if fault:
            raise TaskError(ErrorClass.BAD_OUTPUT, f"emitted {fault}", retryable=False)
        return self._add(Chunk(0, ChunkType.OUTPUT, piece))

    def progress(self, fraction: float) -> Awaitable[None]:
        """Report how far the work is, from 0 to 1; this also renews the attempt's lease."""
        return self._add(Chunk(0, ChunkType.PROGRESS, progress=min(1.0, max(0.0, float(fraction)))))

    def usage(self, tokens_in: int = 0, tokens_out: int = 0, cost_usd: float = 0.0) -> None:
        """Add to what the attempt has consumed; it is recorded with the outcome, failures included."""
        used = self._used
        self._used = Usage(used.tokens_in + tokens_in, used.tokens_out + tokens_out, used.cost_usd + cost_usd)

    def _add(self, item: str | Chunk) -> Awaitable[None]:
        stream = self._stream or self._opened()
        if stream.is_own_thread:
            return stream.add(item)
        if self._cancelled:
            raise asyncio.CancelledError
        stream.add_from_thread(item)
        return stream.room

    def _opened(self) -> ChunkStream:
        self._stream = self._open_stream(self)
        return self._stream
