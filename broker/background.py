"""Tasks that run beside a block and end with it: no orphan, and one that dies ends the block with its error.

Why not `asyncio.TaskGroup`: it cancels each child once, and nats-py's flush and, before Python 3.12,
`asyncio.wait_for` may swallow that one cancellation; the group then waits for ever. This one asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

ASK_AGAIN_S = 0.2


class Background:
    """Use it as `async with Background() as background:`.

    Leaving the block waits for what was spawned; leaving it with an error or a cancellation ends it. The
    first error of a spawned task cancels the block and is what the block raises.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._block: asyncio.Task[Any] | None = None
        self._error: BaseException | None = None
        self._is_leaving = False
        self._interrupted = False

    async def __aenter__(self) -> Self:
        self._block = asyncio.current_task()
        return self

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` beside the block."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None or self._error is not None:
            return
        self._error = error
        if not self._is_leaving and self._block is not None:
            self._interrupted = self._block.cancel()

    async def end(self) -> None:
        """Cancel what still runs and wait for it."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=ASK_AGAIN_S)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._is_leaving = True
        try:
            if error is None:
                await self._until_done()
        finally:
            await self._end_whatever_comes()
        if self._error is not None and (error is None or self._interrupted):
            if self._interrupted and self._block is not None:
                self._block.uncancel()
            raise self._error

    async def _until_done(self) -> None:
        while self._tasks and self._error is None:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _end_whatever_comes(self) -> None:
        """End the tasks even when the block is cancelled once more meanwhile."""
        cancelled = False
        while self._tasks:
            try:
                await self.end()
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError
