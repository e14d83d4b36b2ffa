"""The part of a client that submits with options: later, again and again, unique, debounced.

The orchestrator decides these; schedules themselves are read from LATER without asking anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any, TypedDict

from outrider.broker.clock import Clock
from outrider.broker.codec import load
from outrider.broker.connection import Connection
from outrider.broker.errors import (
    DecodeError,
    InvalidTask,
    NatsUnavailable,
    NobodyAnswers,
    OutcomeUnknown,
    OutriderError,
    TimedOut,
)
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.messages import Submitted, TaskEnvelope
from outrider.broker.scheduling import SubmitOptions, next_fire
from outrider.broker.schema import from_map, to_map
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects, check_name
from outrider.broker.views import TaskView, unstarted
from outrider.client.asking import Asker

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0
MOST_LOOKED_AT = 20_000
"""Of what LATER holds, for one listing; what was scheduled after so many is not listed."""
A_PAGE = 250


class Arrangement(TypedDict, total=False):
    """Options of `Client.submit` beside the task itself. An instant is a datetime or seconds since 1970."""

    delay_s: float
    run_at: float | datetime
    unique: bool
    unique_key: str
    debounce_s: float
    debounce_key: str
    eta: bool
    refuse_late: bool


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A cron schedule or a delayed task; `next_at` is when it fires next, as far as that can be told here."""

    schedule_id: str
    kind: str
    cron: str | None
    time_zone: str | None
    next_at: float | None
    priority: int
    submitted_at: float
    task: TaskEnvelope = field(repr=False)
    """What is submitted then."""
    is_due: bool = False
    """Its time has come, and it is on its way to TASKS."""

    def as_map(self) -> dict[str, Any]:
        """The schedule as JSON shows it."""
        names = ("schedule_id", "kind", "cron", "time_zone", "next_at", "priority")
        return {name: getattr(self, name) for name in names}

    def as_task(self) -> TaskView:
        """A delayed task as it is now."""
        state = TaskState.QUEUED if self.is_due else TaskState.SCHEDULED
        return unstarted(self.task, state, run_at=self.next_at)


def options_of(given: Mapping[str, Any]) -> SubmitOptions:
    """What was given, checked as the orchestrator will. Raises InvalidTask."""
    run_at = given.get("run_at")
    if isinstance(run_at, datetime):
        if run_at.tzinfo is None:
            raise InvalidTask(
                f"run_at {run_at} has no time zone", hint="datetime.now(UTC) + timedelta(minutes=5)"
            )
        given = {**given, "run_at": run_at.timestamp()}
    try:
        return from_map(SubmitOptions, dict(given))
    except DecodeError as error:
        raise InvalidTask(error.message) from None


class Schedules:
    """LATER, and submits that may end up there."""

    def __init__(
        self, connection: Connection, subjects: Subjects, asker: Asker, clock: Clock, keep_trying_s: float
    ) -> None:
        self._subjects = subjects
        self._asker = asker
        self._clock = clock
        self._keep_trying_s = keep_trying_s
        self._later = StreamReader(connection, subjects.later_stream)

    async def submit(self, envelope: TaskEnvelope, options: SubmitOptions) -> Submitted:
        """Ask until an orchestrator says what it did; the task id makes asking again harmless.

        Raises what it refuses with; NobodyAnswers or TimedOut when none answered; OutcomeUnknown or
        NatsUnavailable when NATS confirmed nothing.
        """
        options.check(self._clock.wall())
        body = to_map(envelope) | to_map(options)
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + self._keep_trying_s, FIRST_PAUSE_S
        while True:
            try:
                return await self._asker.ask(self._subjects.submit, body, Submitted)
            except (NobodyAnswers, TimedOut, OutcomeUnknown, NatsUnavailable):
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def add(self, envelope: TaskEnvelope, cron: str, time_zone: str | None) -> ScheduleView:
        """Store a cron schedule."""
        answer = await self.submit(envelope, SubmitOptions(cron=cron, time_zone=time_zone))
        task = replace(envelope, task_id=answer.task_id)
        return _shown(task, SubmitOptions(cron=cron, time_zone=time_zone), self._clock.wall())

    async def all(
        self, limit: int, which: Callable[[ScheduleView], bool] | None = None
    ) -> list[ScheduleView]:
        """What is scheduled and fits `which`, the soonest first; of MOST_LOOKED_AT that LATER holds."""
        soonest: list[ScheduleView] = []
        with contextlib.suppress(NobodyAnswers):
            async for page in self._pages():
                fitting = (view for view in page if which is None or which(view))
                soonest = heapq.nsmallest(limit, chain(soonest, fitting), key=_when)
        return soonest

    async def _pages(self) -> AsyncIterator[list[ScheduleView]]:
        """LATER in pieces: what is not listed in the end need not stay in memory."""
        first = 1
        for _ in range(0, MOST_LOOKED_AT, A_PAGE):
            stored = await self._later.all_of(self._subjects.all_later, first, A_PAGE)
            yield [view for view in map(self._view, stored) if view is not None]
            if len(stored) < A_PAGE:
                return
            first = stored[-1].seq + 1

    async def delayed(self, limit: int) -> list[TaskView]:
        """Tasks that start later; cron schedules are no tasks."""
        return [v.as_task() for v in await self.all(limit, lambda view: view.cron is None)]

    async def find(self, task_id: str) -> ScheduleView | None:
        """What is scheduled under this id, or due and not queued yet; None when LATER has neither."""
        s = self._subjects
        try:
            found = await self._later.last_of([s.later(task_id), s.due_anywhere(task_id)])
        except NobodyAnswers:
            return None
        view = self._view(found[-1]) if found else None
        if view is None:
            return None
        return replace(view, is_due=found[-1].subject != s.later(task_id))

    def _view(self, stored: Stored) -> ScheduleView | None:
        try:
            body = load(stored.data)
            task, options = from_map(TaskEnvelope, body), from_map(SubmitOptions, body)
        except OutriderError:
            return None
        return _shown(task, options, self._clock.wall())

    async def remove(self, schedule_id: str) -> TaskView:
        """Take a schedule away. Raises TaskNotFound."""
        return await self._asker.cancel(check_name(schedule_id, "schedule id"), "its schedule was removed")


def _when(view: ScheduleView) -> float:
    return view.next_at if view.next_at is not None else float("inf")


def _shown(task: TaskEnvelope, options: SubmitOptions, wall_at: float) -> ScheduleView:
    next_at = next_fire(options.cron, options.time_zone, wall_at) if options.cron else options.run_at
    return ScheduleView(
        schedule_id=task.task_id,
        kind=task.kind,
        cron=options.cron,
        time_zone=options.time_zone,
        next_at=next_at,
        priority=task.priority,
        submitted_at=task.submitted_at,
        task=task,
    )
