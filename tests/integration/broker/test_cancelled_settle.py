"""Giving up while the server is asked for a sign of life does not make the connection deaf."""

from __future__ import annotations

import asyncio
import contextlib

from outrider.broker.connection import Connection


async def test_requests_are_answered_after_a_cancelled_settle(connection: Connection) -> None:
    for _ in range(20):
        settling = asyncio.create_task(connection.settle())
        await asyncio.wait([settling], timeout=0.0001)
        settling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await settling
    assert await connection.api("INFO", timeout_s=2)
