"""Submits that ask for more than to run now: delayed, repeated, unique while queued, debounced.

Whatever must be agreed on by several is decided by compare-and-set at the server; nothing is remembered here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from outrider.broker.clock import Clock
from outrider.broker.errors import IdempotencyConflict, InvalidTask, Refused, WrongSequence
from outrider.broker.messages import TaskEnvelope
from outrider.broker.scheduling import LONGEST_CRON_ID, SubmitOptions, debounce_name, unique_name
from outrider.broker.schema import from_map, to_map
from outrider.broker.states import TERMINAL, TaskState
from outrider.orchestrator.keys import Keys
from outrider.orchestrator.scheduled import Scheduled, ScheduledTasks

MOST_RACES = 50
"""So often in a row another submit may come first before the caller is asked to try again."""
LONGEST_WITH_OBJECT_S = 13 * 24 * 3600.0
"""Well within the life of a large payload in the object store."""
OPEN, FIRED = "open", "fired"
REMEMBERED_SUBMITS = 64
"""Of one debounce key, by their ids: one that is repeated stands for nothing new."""

Queue = Callable[[TaskEnvelope], Awaitable[TaskState]]
StateOf = Callable[[str], Awaitable[TaskState | None]]
Accepted = tuple[str, TaskState]


class Arrangements:
    """Submits with options. `queue` puts a task into TASKS once, `state_of` finds one wherever it is."""

    def __init__(
        self, queue: Queue, state_of: StateOf, scheduled: ScheduledTasks, keys: Keys, clock: Clock
    ) -> None:
        self._queue = queue
        self._state_of = state_of
        self._scheduled = scheduled
        self._keys = keys
        self._clock = clock

    async def submit(self, envelope: TaskEnvelope, options: SubmitOptions) -> Accepted:
        """The task that this submit stands for, and its state.

        Raises InvalidTask, QueueFull, IdempotencyConflict, or Refused when others were first too often.
        """
        known = await self._known(envelope, options)
        if known is not None:
            return envelope.task_id, known
        options.check(self._clock.wall())
        if (options.is_unique or options.debounce_s) and envelope.idempotency_key is not None:
            raise InvalidTask(
                "an idempotency key goes with neither unique nor debounce", hint="give one of them"
            )
        if envelope.group is not None and not options.is_one_task:
            raise InvalidTask("a task of a group is neither cron nor unique nor debounced")
        if envelope.waits is not None and options.cron is not None:
            raise InvalidTask("cron makes many tasks: they cannot wait for others")
        if options.debounce_s is not None:
            return await self._racing(self._debounce, envelope, options)
        if options.is_unique:
            return await self._racing(self._claim, envelope, options)
        return envelope.task_id, await self._start(envelope, options)

    async def _known(self, envelope: TaskEnvelope, options: SubmitOptions) -> TaskState | None:
        """The state of a task or schedule that was accepted under this id before."""
        there = await self._scheduled.find(envelope.task_id)
        if there is None:
            return await self._state_of(envelope.task_id)
        is_same = (there.options.cron, there.options.time_zone) == (options.cron, options.time_zone)
        if envelope.idempotency_key is not None and not (is_same and envelope.is_same_work(there.envelope)):
            raise IdempotencyConflict(
                f"idempotency key {envelope.idempotency_key!r} already stands for another schedule",
                hint=f"outrider schedule rm {envelope.task_id} removes it",
            )
        return TaskState.QUEUED if there.is_due else TaskState.SCHEDULED

    async def _start(self, envelope: TaskEnvelope, options: SubmitOptions) -> TaskState:
        """Queue the task, or store its schedule."""
        run_at = options.starts_at(self._clock.wall())
        if run_at is None and options.cron is None:
            return await self._queue(envelope)
        if options.cron is not None and len(envelope.task_id) > LONGEST_CRON_ID:
            raise InvalidTask(f"the id of a cron schedule has at most {LONGEST_CRON_ID} signs")
        _refuse_if_payload_goes_first(envelope, options, run_at, self._clock.wall())
        if run_at is not None and envelope.deadline_at is not None and envelope.deadline_at <= run_at:
            late_s = run_at - envelope.deadline_at
            raise InvalidTask(f"the deadline passes {late_s:.0f} s before the task may start")
        stored = SubmitOptions(run_at=run_at, cron=options.cron, time_zone=options.time_zone)
        await self._scheduled.refuse_when_full()
        with contextlib.suppress(WrongSequence):
            await self._scheduled.put(Scheduled(envelope, stored))
        return TaskState.SCHEDULED

    async def _racing(
        self,
        step: Callable[[TaskEnvelope, SubmitOptions], Awaitable[Accepted]],
        envelope: TaskEnvelope,
        options: SubmitOptions,
    ) -> Accepted:
        for _ in range(MOST_RACES):
            with contextlib.suppress(WrongSequence):
                return await step(envelope, options)
        raise Refused("many submits of the same key at this moment", hint="ask again")

    async def _claim(self, envelope: TaskEnvelope, options: SubmitOptions) -> Accepted:
        """The open task that holds the name, or this one. Raises WrongSequence when another was first."""
        name = unique_name(envelope, options.unique_key)
        record = await self._keys.read(name)
        holder = record.value.get("task_id")
        if isinstance(holder, str):
            state = await self._state_of(holder)
            if state is None:
                # Claimed, and stored by nobody: whoever claimed it stopped in between.
                return holder, await self._start(replace(envelope, task_id=holder), options)
            if state not in TERMINAL:
                return holder, state
        await self._keys.change(name, {"task_id": envelope.task_id}, record)
        return envelope.task_id, await self._start(envelope, options)

    async def _debounce(self, envelope: TaskEnvelope, options: SubmitOptions) -> Accepted:
        """Take the place of the last submit, and let the quiet time begin anew.

        Raises WrongSequence when another was first. The task goes into the record and not into the
        schedule: the server may fire a schedule that was replaced at this very moment, and drop the new one.
        """
        name = debounce_name(envelope.kind, options.debounce_key or "")
        record = await self._keys.read(name)
        task_id = await self._open_window(record.value) or envelope.task_id
        asked: dict[str, str] = record.value.get("asked") or {}
        if envelope.task_id in asked:
            # Asked again because the answer was lost: neither newer than what came since, nor a new burst.
            before = asked[envelope.task_id]
            return before, await self._state_of(before) or TaskState.SCHEDULED
        asked = dict([*asked.items(), (envelope.task_id, task_id)][-REMEMBERED_SUBMITS:])
        run_at = self._clock.wall() + (options.debounce_s or 0.0)
        task = replace(envelope, task_id=task_id)
        if await self._scheduled.find(task_id) is None:
            await self._scheduled.refuse_when_full()
            with contextlib.suppress(WrongSequence):
                tick = SubmitOptions(run_at=run_at, debounce_key=options.debounce_key)
                await self._scheduled.put(Scheduled(task, tick))
        window = {"state": OPEN, "task_id": task_id, "run_at": run_at, "envelope": to_map(task)}
        await self._keys.change(name, window | {"asked": asked}, record)
        return task_id, TaskState.SCHEDULED

    async def _open_window(self, window: dict[str, object]) -> str | None:
        """The task of the window that is open; one that has fired is queued before it is forgotten."""
        task_id = window.get("task_id")
        if not isinstance(task_id, str):
            return None
        state = await self._state_of(task_id)
        if window.get("state") == OPEN:
            return task_id if state not in TERMINAL else None
        if state is None:
            await self._queue(from_map(TaskEnvelope, window["envelope"]))
        return None

    async def quiet(self, task: Scheduled, fired_at: float) -> TaskEnvelope | None:
        """A debounced task's time came: what to run now, or None when a later submit moved it on."""
        name = debounce_name(task.envelope.kind, task.options.debounce_key or "")
        while True:
            record = await self._keys.read(name)
            window = record.value
            if window.get("task_id") != task.envelope.task_id:
                return None
            if window.get("state") == OPEN and await self._moved_on(task, window["run_at"], fired_at):
                return None
            if window.get("state") == OPEN:
                try:
                    await self._keys.change(name, window | {"state": FIRED}, record)
                except WrongSequence:
                    continue
            return from_map(TaskEnvelope, window["envelope"])

    async def _moved_on(self, task: Scheduled, run_at: float, fired_at: float) -> bool:
        """Whether the quiet time began anew meanwhile; then its end has a schedule."""
        if run_at <= fired_at:
            return False
        later = replace(task, options=replace(task.options, run_at=run_at))
        with contextlib.suppress(WrongSequence):
            await self._scheduled.put(later)
        return True


def _refuse_if_payload_goes_first(
    envelope: TaskEnvelope, options: SubmitOptions, run_at: float | None, wall_at: float
) -> None:
    """A large payload lives in the object store for a while only."""
    is_far = options.cron is not None or (run_at or 0.0) - wall_at > LONGEST_WITH_OBJECT_S
    if envelope.payload_ref is not None and is_far:
        raise InvalidTask(
            "a payload over 256 KiB cannot wait so long", hint="put it elsewhere, send its address"
        )
