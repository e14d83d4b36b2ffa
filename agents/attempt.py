"""One attempt while it runs: its handler, its clock, and how it may be stopped. Sends nothing itself."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from outrider.agents.chunks import ChunkStream
from outrider.agents.outcome import attempt_error, classify
from outrider.agents.task import Task
from outrider.broker.messages import Assignment, AttemptError
from outrider.broker.states import ErrorClass

Handler = Callable[[Task], Any]
"""`async def handler(task)`, or a plain function that runs in a thread of its own; returns the result."""


class Ending(StrEnum):
    """Why an attempt was stopped from outside its handler."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Result:
    """What the handler returned, or the error of an attempt that failed."""

    value: Any = None
    error: AttemptError | None = None


def is_async(handler: Handler) -> bool:
    """Whether calling the handler makes a coroutine."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


class Attempt:
    """An accepted assignment. `epoch` and `expect` move when the orchestrator renews them."""

    __slots__ = (
        "_limit_s",
        "_timer",
        "assignment",
        "ending",
        "epoch",
        "expect",
        "is_closed",
        "is_in_thread",
        "runner",
        "started_at",
        "task",
    )

    def __init__(self, assignment: Assignment, task: Task, is_in_thread: bool) -> None:
        self.assignment = assignment
        self.epoch = assignment.epoch
        self.expect = assignment.expect
        self.is_in_thread = is_in_thread
        self.ending: Ending | None = None
        self.is_closed = False
        """The outcome is decided; what the handler still returns counts for nothing."""
        self.started_at = time.monotonic()
        self.runner: asyncio.Task[None] | None = None
        self.task = task
        self._timer: asyncio.TimerHandle | None = None
        self._limit_s: float | None = None

    @property
    def service_s(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def stream(self) -> ChunkStream | None:
        """The partial output, if the handler emitted any."""
        return self.task._stream

    def arm(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[Attempt], None]) -> None:
        """Call `on_late` when the timeout or the deadline passes first; nothing when there is neither."""
        limit_s, deadline_at = self.assignment.timeout_s, self.assignment.deadline_at
        if deadline_at is not None:
            left_s = max(0.0, deadline_at - time.time())
            limit_s = left_s if limit_s is None else min(limit_s, left_s)
        if limit_s is not None:
            self._limit_s = limit_s
            self._timer = loop.call_later(limit_s, on_late, self)

    def stop(self, ending: Ending) -> None:
        """Let the handler know: CancelledError in an async one, `task.cancelled` in a sync one."""
        self.ending = self.ending or ending
        self.task._cancelled = True
        if self.runner is not None and not self.is_in_thread:
            self.runner.cancel()

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def stopped_result(self) -> Result:
        """The failure of an attempt that was stopped by its own clock or by the agent's end."""
        if self.ending is Ending.TIMED_OUT:
            return Result(
                error=attempt_error(ErrorClass.TIMEOUT, f"not finished within {self._limit_s or 0:.3g} s")
            )
        if self.ending is Ending.INTERRUPTED:
            return Result(error=attempt_error(ErrorClass.INTERRUPTED, "the agent was stopped"))
        return Result(error=attempt_error(ErrorClass.HANDLER, "the handler cancelled itself"))


async def call_async(handler: Handler, task: Task) -> Result:
    """Run an async handler. Only CancelledError comes out of it."""
    try:
        return Result(await handler(task))
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever a handler raises is its outcome
        return Result(error=classify(problem))


async def call_in_thread(handler: Handler, task: Task) -> Result:
    """Run a sync handler in a daemon thread: a handler that never returns must not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def work() -> None:
        result = _call(handler, task)
        try:
            loop.call_soon_threadsafe(_set, done, result)
        except RuntimeError:
            return  # the loop is closed: nobody waits for this any more

    threading.Thread(target=work, name=f"task {task.task_id}", daemon=True).start()
    return await done


def _call(handler: Handler, task: Task) -> Result:
    try:
        return Result(handler(task))
    except asyncio.CancelledError:
        return Result(error=attempt_error(ErrorClass.HANDLER, "the handler cancelled itself"))
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever a handler raises is its outcome
        return Result(error=classify(problem))


def _set(done: asyncio.Future[Result], result: Result) -> None:
    if not done.done():
        done.set_result(result)
