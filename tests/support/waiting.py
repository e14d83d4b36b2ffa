"""Waiting in tests: poll a condition with a deadline, never a fixed pause."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(check: Callable[[], Awaitable[T | None]], within_s: float = 20.0, what: str = "it") -> T:
    """The first answer of `check` that is not None or False; fails the test after `within_s` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    never = asyncio.Event()
    while True:
        found = await check()
        if found is not None and found is not False:
            return found
        if loop.time() > deadline:
            raise AssertionError(f"{what} did not happen within {within_s:g} s")
        try:
            await asyncio.wait_for(never.wait(), 0.02)
        except TimeoutError:
            continue
