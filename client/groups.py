"""Many tasks as one: their progress, their results as they come, their cancellation, their completion hook.

Which tasks belong to a group follows from its name and size, so every client finds them again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from outrider.broker.errors import (
    IdempotencyConflict,
    InvalidTask,
    OutriderError,
    Refused,
    TaskNotFound,
    TimedOut,
)
from outrider.broker.flows import GroupRef, OnFailure, check_group, hook_id, member_id
from outrider.broker.states import TERMINAL
from outrider.broker.views import TaskView
from outrider.client.batches import PACKED_AT_ONCE
from outrider.client.new_task import Member, NewTask, Packed, pack
from outrider.client.reading import Reader
from outrider.client.task import Task, result_of

if TYPE_CHECKING:
    from outrider.client.client import Client

CANCELLED_AT_ONCE = 64
CANCEL_TRIES = 5
MISSING = "missing"
"""Counted for a member that was never accepted, because its submission broke off."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group is; `states` counts its members by state."""

    group: str
    size: int
    states: dict[str, int]

    @property
    def ended(self) -> int:
        """How many members are over."""
        return sum(count for state, count in self.states.items() if state in TERMINAL)

    @property
    def is_over(self) -> bool:
        return self.ended == self.size


class Group:
    """A batch of tasks. Made by `Client.submit_many(..., group=...)` and `Client.group`."""

    def __init__(self, client: Client, ref: GroupRef, tasks: list[Task]) -> None:
        self._client = client
        self.ref = ref
        """What another task waits for: `submit(..., after_group=group.ref)`."""
        self.tasks = tasks
        """The members in order."""

    def __repr__(self) -> str:
        return f"Group({self.group_id!r}, {self.size} tasks)"

    @property
    def group_id(self) -> str:
        return self.ref.group

    @property
    def size(self) -> int:
        return self.ref.size

    async def refresh(self) -> None:
        """Read from the ledger what became of the members that are not known to be over."""
        open_ = [task.watch for task in self.tasks if not task.is_over]
        stories = await self._client.reader.stories([watch.task_id for watch in open_])
        for watch, story in zip(open_, stories, strict=True):
            if story.expect:
                watch.replace(story)

    async def progress(self) -> Progress:
        """The members by state, as the streams know them now."""
        unwritten = [task.task_id for task in self.tasks if not task.watch.story.expect]
        waiting = await self._client.reader.waiting_among(unwritten)
        await self.refresh()
        states: Counter[str] = Counter()
        for task in self.tasks:
            story = task.watch.story
            if task.task_id in waiting:
                task.watch.know(waiting[task.task_id].envelope)
            is_known = story.expect or task.task_id in waiting
            states[story.state.value if is_known else MISSING] += 1
        return Progress(self.group_id, self.size, dict(states))

    def views(self) -> list[TaskView]:
        """The members as this client knows them."""
        return [task.watch.story.view() for task in self.tasks]

    async def as_completed(self) -> AsyncGenerator[Task, None]:
        """Each member once it is over, however it ended, in the order of their ends."""
        by_id = {task.task_id: task for task in self.tasks}
        async with aclosing(self._client.each_over([task.watch for task in self.tasks])) as ends:
            async for watch in ends:
                yield by_id[watch.task_id]

    async def ended(self, timeout_s: float | None = None) -> list[TaskView]:
        """All members in order once all are over. Raises TimedOut; the tasks themselves go on then."""
        try:
            async with asyncio.timeout(timeout_s):
                async for _ in self.as_completed():
                    pass
        except TimeoutError:
            left = sum(not task.is_over for task in self.tasks)
            raise TimedOut(
                f"{left} of {self.size} tasks of group {self.group_id} did not end within {timeout_s:g} s",
                hint="they go on: outrider group show",
            ) from None
        return self.views()

    async def results(self, timeout_s: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """What the agents returned, in the order of the members.

        Raises for the first member that ended without success, as `Task.result` does, or TimedOut. With
        `return_exceptions` such an error stands in the place of the result.
        """
        results: list[Any] = []
        for view in await self.ended(timeout_s):
            try:
                results.append(result_of(view))
            except OutriderError as error:
                if not return_exceptions:
                    raise
                results.append(error)
        return results

    async def hook(self) -> Task:
        """The completion hook. Raises TaskNotFound when the group has none."""
        return await self._client.task(hook_id(self.group_id))

    async def cancel(self, reason: str = "", *, with_hook: bool = True) -> Progress:
        """End every member that is not over, and first the hook, unless it shall run after that."""
        reason = reason or f"group {self.group_id} was cancelled"
        if with_hook:
            with suppress(TaskNotFound):
                await self._cancel(hook_id(self.group_id), reason)
        await self.refresh()
        at_once = asyncio.Semaphore(CANCELLED_AT_ONCE)

        async def cancel(task: Task) -> None:
            async with at_once:
                await self._cancel(task.task_id, reason)

        async with asyncio.TaskGroup() as cancelling:
            for task in self.tasks:
                if not task.is_over:
                    cancelling.create_task(cancel(task))
        return await self.progress()

    async def _cancel(self, task_id: str, reason: str) -> None:
        for left in reversed(range(CANCEL_TRIES)):
            try:
                await self._client.cancel(task_id, reason)
            except Refused:
                # It was taken up at this moment.
                if not left:
                    raise
            else:
                return


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """A group ready to be sent: its members in order, and its hook after them."""

    ref: GroupRef
    tasks: list[Packed]


async def pack_group(
    reader: Reader,
    tasks: Sequence[NewTask | tuple[str, Any]],
    group: str | Literal[True],
    hook: NewTask | None,
    wall_at: float,
    largest: int,
) -> PackedGroup:
    """Check and pack a group. Raises IdempotencyConflict when the name stands for one of another size."""
    name = f"g-{secrets.token_hex(8)}" if group is True else group
    check_group(name, len(tasks))
    ref = GroupRef(name, len(tasks))
    is_repeat = group is not True and await _is_known(reader, ref)
    packed = []
    for number, task in enumerate(tasks):
        new = task if isinstance(task, NewTask) else NewTask(*task)
        packed.append(pack(new, wall_at, largest, Member(ref, number)))
        if number % PACKED_AT_ONCE == 0:
            await asyncio.sleep(0)
    if hook is not None:
        packed.append(pack(_as_hook(hook, ref), wall_at, largest, task_id=hook_id(name)))
    return PackedGroup(ref, [replace(one, is_repeat=is_repeat) for one in packed])


def _as_hook(hook: NewTask, ref: GroupRef) -> NewTask:
    if hook.after_group is not None:
        raise InvalidTask("a completion hook waits for its own group only")
    return replace(hook, after_group=ref, on_failure=hook.on_failure or OnFailure.RUN)


async def _is_known(reader: Reader, ref: GroupRef) -> bool:
    known = await reader.known(member_id(ref.group, 0))
    size = known.envelope.group_size if known.envelope is not None else None
    if size not in (None, ref.size):
        raise IdempotencyConflict(f"group {ref.group!r} already stands for {size} tasks, not for {ref.size}")
    return not known.is_nothing


async def open_group(reader: Reader, group: str) -> GroupRef:
    """A group by its name, as its first member tells it. Raises TaskNotFound."""
    check_group(group, 1)
    envelope = (await reader.known(member_id(group, 0))).envelope
    if envelope is None or envelope.group != group or envelope.group_size is None:
        raise TaskNotFound(f"no group {group!r} waits or stands in the ledger")
    return GroupRef(group, envelope.group_size)
