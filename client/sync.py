"""The client for scripts without asyncio: the same calls, each waiting for its answer.

Runs a Client in an event loop of its own, in a thread of its own; knows nothing more than that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from typing import Any, Self, TypeVar

from outrider.broker.estimates import Estimate
from outrider.broker.letters import DeadLetter, LetterList
from outrider.broker.limits import ANY, LimitView
from outrider.broker.object_ref import ObjectRef
from outrider.broker.pausing import PauseState
from outrider.broker.states import TaskState
from outrider.broker.views import AgentView, TaskView
from outrider.client.chunks import Piece
from outrider.client.client import Client
from outrider.client.groups import Group, Progress
from outrider.client.listing import DEFAULT_LIMIT
from outrider.client.new_task import NewTask
from outrider.client.operating import LetterFilter, LetterStory
from outrider.client.scheduling import ScheduleView
from outrider.client.task import Task

T = TypeVar("T")


class SyncTask:
    """One task. Every method waits for its answer and raises what `Task` raises."""

    def __init__(self, owner: SyncClient, task: Task) -> None:
        self._owner = owner
        self._task = task
        self.task_id = task.task_id
        self.warning = task.warning
        self.eta = task.eta

    def __repr__(self) -> str:
        return f"SyncTask({self.task_id!r})"

    def result(self, timeout_s: float | None = None) -> Any:
        return self._owner.wait_for(self._task.result(timeout_s))

    def ended(self, timeout_s: float | None = None) -> TaskView:
        return self._owner.wait_for(self._task.ended(timeout_s))

    def view(self) -> TaskView:
        return self._owner.wait_for(self._task.view())

    def cancel(self, reason: str = "") -> TaskView:
        return self._owner.wait_for(self._task.cancel(reason))

    def stream(self, from_offset: int = 0, attempt: int | None = None) -> Iterator[Any]:
        return self._owner.each_of(self._task.stream(from_offset, attempt))

    def chunks(self, from_offset: int = 0, attempt: int | None = None) -> Iterator[Piece]:
        return self._owner.each_of(self._task.chunks(from_offset, attempt))


class SyncGroup:
    """A batch of tasks. Every method waits for its answer and raises what `Group` raises."""

    def __init__(self, owner: SyncClient, group: Group) -> None:
        self._owner = owner
        self._group = group
        self.group_id, self.size, self.ref = group.group_id, group.size, group.ref
        self.tasks = [SyncTask(owner, task) for task in group.tasks]

    def __repr__(self) -> str:
        return f"SyncGroup({self.group_id!r}, {self.size} tasks)"

    def progress(self) -> Progress:
        return self._owner.wait_for(self._group.progress())

    def as_completed(self) -> Iterator[SyncTask]:
        return (SyncTask(self._owner, task) for task in self._owner.each_of(self._group.as_completed()))

    def ended(self, timeout_s: float | None = None) -> list[TaskView]:
        return self._owner.wait_for(self._group.ended(timeout_s))

    def results(self, timeout_s: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        return self._owner.wait_for(self._group.results(timeout_s, return_exceptions=return_exceptions))

    def hook(self) -> SyncTask:
        return SyncTask(self._owner, self._owner.wait_for(self._group.hook()))

    def cancel(self, reason: str = "", *, with_hook: bool = True) -> Progress:
        return self._owner.wait_for(self._group.cancel(reason, with_hook=with_hook))


class SyncClient:
    """A connection to one fleet, for scripts. Use it with `with`; it takes what `Client` takes."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._client = Client(*arguments, **named)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outrider client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.wait_for(self._client.open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait_for(self._client.close())
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the client's loop and wait for it; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def each_of(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Iterate over what arrives in the client's loop."""

        async def following() -> tuple[T] | None:
            async for item in items:
                return (item,)
            return None

        async def leave() -> None:
            await items.aclose()

        try:
            while (item := self.wait_for(following())) is not None:
                yield item[0]
        finally:
            self.wait_for(leave())

    def submit(self, kind: str, payload: Any = None, **options: Any) -> SyncTask:
        """Have a task accepted; options as in `Client.submit`."""
        return SyncTask(self, self.wait_for(self._client.submit(kind, payload, **options)))

    def schedule(
        self, kind: str, payload: Any = None, *, cron: str, time_zone: str | None = None, **task: Any
    ) -> ScheduleView:
        """A new task at each fire; options as in `Client.schedule`."""
        return self.wait_for(self._client.schedule(kind, payload, cron=cron, time_zone=time_zone, **task))

    def schedules(
        self, limit: int = DEFAULT_LIMIT, which: Callable[[ScheduleView], bool] | None = None
    ) -> list[ScheduleView]:
        return self.wait_for(self._client.schedules(limit, which))

    def scheduled(self, task_id: str) -> ScheduleView | None:
        return self.wait_for(self._client.scheduled(task_id))

    def unschedule(self, schedule_id: str) -> TaskView:
        return self.wait_for(self._client.unschedule(schedule_id))

    def submit_many(self, tasks: Iterable[NewTask | tuple[str, Any]]) -> list[SyncTask]:
        return [SyncTask(self, task) for task in self.wait_for(self._client.submit_many(tasks))]

    def submit_group(
        self,
        tasks: Iterable[NewTask | tuple[str, Any]],
        group: str | None = None,
        hook: NewTask | None = None,
    ) -> SyncGroup:
        """Have many tasks accepted as one group, as `Client.submit_many` with a group does."""
        return SyncGroup(self, self.wait_for(self._client.submit_many(tasks, group or True, hook)))

    def group(self, group: str) -> SyncGroup:
        return SyncGroup(self, self.wait_for(self._client.group(group)))

    def task(self, task_id: str) -> SyncTask:
        return SyncTask(self, self.wait_for(self._client.task(task_id)))

    def get(self, task_id: str) -> TaskView:
        return self.wait_for(self._client.get(task_id))

    def tasks(self, state: TaskState | str | None = None, limit: int = DEFAULT_LIMIT) -> list[TaskView]:
        return self.wait_for(self._client.tasks(state, limit))

    def fetch(self, ref: ObjectRef) -> Any:
        return self.wait_for(self._client.fetch(ref))

    def cancel(self, task_id: str, reason: str = "") -> TaskView:
        return self.wait_for(self._client.cancel(task_id, reason))

    def dead_letters(
        self, which: LetterFilter | None = None, limit: int = DEFAULT_LIMIT
    ) -> tuple[DeadLetter, ...]:
        return self.wait_for(self._client.dead_letters(which, limit))

    def letter_page(self, which: LetterFilter, limit: int, before: int | None = None) -> LetterList:
        return self.wait_for(self._client.letter_page(which, limit, before))

    def dead_letter(self, task_id: str) -> LetterStory:
        return self.wait_for(self._client.dead_letter(task_id))

    def requeue(self, which: str | LetterFilter, *, dry_run: bool = False, reason: str = "") -> LetterList:
        return self.wait_for(self._client.requeue(which, dry_run=dry_run, reason=reason))

    def discard(self, which: str | LetterFilter, *, dry_run: bool = False, reason: str = "") -> LetterList:
        return self.wait_for(self._client.discard(which, dry_run=dry_run, reason=reason))

    def pause(self, kind: str | None = None, reason: str = "") -> PauseState:
        return self.wait_for(self._client.pause(kind, reason))

    def resume(self, kind: str | None = None, reason: str = "") -> PauseState:
        return self.wait_for(self._client.resume(kind, reason))

    def estimate(self, kind: str, payload: Any = None, **options: Any) -> Estimate:
        """When such a task would finish; options as in `Client.estimate`."""
        return self.wait_for(self._client.estimate(kind, payload, **options))

    def agents(self) -> tuple[AgentView, ...]:
        return self.wait_for(self._client.agents())

    def limits(self) -> tuple[LimitView, ...]:
        return self.wait_for(self._client.limits())

    def set_limit(self, kind: str = ANY, key: str = "", **limits: Any) -> tuple[LimitView, ...]:
        """Put a limit in force; options as in `Client.set_limit`."""
        return self.wait_for(self._client.set_limit(kind, key, **limits))

    def remove_limit(self, kind: str = ANY, key: str = "") -> tuple[LimitView, ...]:
        return self.wait_for(self._client.remove_limit(kind, key))
