"""Waiting that a person can watch: a line for every wait over a second, and an end when a signal comes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from outrider.cli.output import note

T = TypeVar("T")

FIRST_LINE_S = 1.0
NEXT_LINES_S = 5.0


async def patiently(what: str, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; say on stderr that it goes on when it takes longer than a second."""
    task = asyncio.ensure_future(work)
    began_at = asyncio.get_running_loop().time()
    pause_s = FIRST_LINE_S
    try:
        while not (await asyncio.wait([task], timeout=pause_s))[0]:
            pause_s = NEXT_LINES_S
            note(f"{what} ({asyncio.get_running_loop().time() - began_at:.0f} s)")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def or_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """Do the work; when `stop` is set first, cancel it and raise CancelledError."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise asyncio.CancelledError
        return task.result()
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
