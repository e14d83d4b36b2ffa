"""A submitted task in the hands of its user: its output, its end, its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from outrider.broker.errors import TaskCancelled, TaskDead, TaskEnded, TaskExpired, TimedOut
from outrider.broker.estimates import Estimate
from outrider.broker.messages import ChunkType
from outrider.broker.states import TaskState
from outrider.broker.views import TaskView
from outrider.client.chunks import Piece, Start
from outrider.client.watching import Watch

if TYPE_CHECKING:
    from outrider.client.client import Client

ENDS: dict[TaskState, type[TaskEnded]] = {
    TaskState.DEAD: TaskDead,
    TaskState.CANCELLED: TaskCancelled,
    TaskState.EXPIRED: TaskExpired,
}


class Task:
    """One task. Made by `Client.submit` and `Client.task`."""

    __slots__ = ("_client", "eta", "warning", "watch")

    def __init__(self, client: Client, watch: Watch, warning: str | None = None) -> None:
        self._client = client
        self.watch = watch
        self.warning = warning
        """Why the task may wait long, such as no agent online for its kind; None when all is well."""
        self.eta: Estimate | None = None
        """When it was expected to finish, seconds from its submission; only if `submit` was asked for it."""

    def __repr__(self) -> str:
        return f"Task({self.task_id!r})"

    @property
    def task_id(self) -> str:
        return self.watch.task_id

    @property
    def is_over(self) -> bool:
        """Whether this client knows of the task's end already."""
        return self.watch.is_over

    async def ended(self, timeout_s: float | None = None) -> TaskView:
        """The task once it is over, however it ended. Raises TimedOut; the task itself goes on then."""
        if not self.watch.is_over:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._client.until_over(self.watch)
            except TimeoutError:
                raise TimedOut(
                    f"task {self.task_id} did not end within {timeout_s:g} s",
                    hint="it goes on: outrider task get shows it",
                ) from None
        return self.watch.story.view()

    async def result(self, timeout_s: float | None = None) -> Any:
        """What the agent returned, fetched from the object store when it is large.

        Raises TaskDead, TaskCancelled or TaskExpired with the task in `view`, or TimedOut; ObjectMissing or
        ObjectCorrupt for a large result that is gone.
        """
        return await self.whole_result(await self.ended(timeout_s))

    async def whole_result(self, view: TaskView) -> Any:
        """The result of this view of the task. Raises as `result` does."""
        result = result_of(view)
        return result if view.result_ref is None else await self._client.fetch(view.result_ref)

    async def stream(self, from_offset: int = 0, attempt: int | None = None) -> AsyncGenerator[Any, None]:
        """The pieces of output as they come, from the first one; ends with the task.

        Also after the end, as long as CHUNKS keeps them. A retry starts over: its pieces follow those of the
        attempt that failed; `chunks` tells them apart, and says from where to go on.
        """
        async with aclosing(self.chunks(from_offset, attempt)) as pieces:
            async for piece in pieces:
                if piece.type is ChunkType.OUTPUT:
                    yield piece.data

    def chunks(self, from_offset: int = 0, attempt: int | None = None) -> AsyncGenerator[Piece, None]:
        """The pieces of output and the progress, with attempt and offset; ends with the task.

        To go on after a piece, ask from its offset + 1 of its attempt; a later attempt is read whole.
        """
        return self._client.pieces(self.watch, Start(from_offset, attempt))

    def states(self) -> AsyncGenerator[TaskView, None]:
        """The task now, and again at each durable change, until it is over."""
        return self._client.states(self.watch)

    async def view(self) -> TaskView:
        """The task as it is now."""
        return await self._client.get(self.task_id)

    async def cancel(self, reason: str = "") -> TaskView:
        """End the task now. Raises Refused when it is over already."""
        return await self._client.cancel(self.task_id, reason)


def result_of(view: TaskView) -> Any:
    """The result of a task that succeeded. Raises TaskDead, TaskCancelled or TaskExpired."""
    if view.state is TaskState.SUCCEEDED:
        return view.result
    error = view.error or {}
    why = f": {error['message']}" if error.get("message") else ""
    ended = ENDS.get(view.state, TaskEnded)(f"task {view.task_id} is {view.state.value}{why}")
    ended.view = view
    raise ended
