"""Runs a one-shot command so that Ctrl-C ends it. Knows no command."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
ASK_AGAIN_S = 0.3


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises asyncio.CancelledError after SIGINT.

    nats-py may swallow a cancellation, which would make Ctrl-C do nothing: it is asked again until heard.
    """
    return asyncio.run(_main(work))


async def _main(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)

    def interrupt() -> None:
        if not task.done():
            task.cancel()
            loop.call_later(ASK_AGAIN_S, interrupt)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    return await task
