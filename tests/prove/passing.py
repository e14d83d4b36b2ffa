"""Time that has to pass: how long an outage or a piece of work lasts is part of a schedule."""

from __future__ import annotations

import asyncio


async def pass_time(seconds: float) -> None:
    """Let so many seconds go by."""
    done = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    try:
        await done
    finally:
        timer.cancel()
