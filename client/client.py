"""The client: submit tasks to a fleet, follow them to their end, see what is there.

Talks to the streams and to the orchestrator's requests; needs no orchestrator to submit or to learn an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Literal, Self, Unpack, overload

from outrider.broker.background import Background
from outrider.broker.clock import Clock, SystemClock
from outrider.broker.config import NatsSettings, environment, fleet_name, largest_object, nats_settings
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, NobodyAnswers, OutriderError, TaskNotFound, TimedOut
from outrider.broker.flows import GroupRef, OnFailure
from outrider.broker.messages import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY
from outrider.broker.object_ref import ObjectRef
from outrider.broker.objects import ObjectStore, value_in
from outrider.broker.pipeline import Appender
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects, check_name
from outrider.broker.views import TaskView
from outrider.client.asking import Asker
from outrider.client.batches import pack_all
from outrider.client.chunks import ChunkReader, Piece, Start
from outrider.client.fleet_calls import FleetCalls
from outrider.client.groups import Group, open_group, pack_group
from outrider.client.kinds import KindBook
from outrider.client.limiting import LimitCalls
from outrider.client.listing import DEFAULT_LIMIT, Listing
from outrider.client.new_task import HasTaskId, NewTask, Packed, pack
from outrider.client.operating import Operator
from outrider.client.operator_calls import OperatorCalls
from outrider.client.reading import Known, Reader
from outrider.client.scheduling import Arrangement, Schedules, ScheduleView, options_of
from outrider.client.submitting import PartlySubmitted, Submitter
from outrider.client.task import Task
from outrider.client.watching import Watch, Watcher

log = logging.getLogger(__name__)

__all__ = ["Client", "PartlySubmitted"]

KEEP_TRYING_S = 30.0


class Client(LimitCalls, OperatorCalls, FleetCalls):
    """A connection to one fleet. Use it with `async with`.

    NATS and fleet come from the arguments, else from the environment, `.env` or the NATS context.
    """

    def __init__(
        self,
        url: str | None = None,
        fleet: str | None = None,
        *,
        settings: NatsSettings | None = None,
        name: str = "outrider client",
        keep_trying_s: float = KEEP_TRYING_S,
        clock: Clock | None = None,
    ) -> None:
        env = environment()
        self.settings = settings or nats_settings(env, url)
        self.subjects = Subjects(fleet_name(env, fleet))
        self._name = name
        self._keep_trying_s = keep_trying_s
        self.largest_object = largest_object(env)
        self._clock = clock or SystemClock()
        self._background: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def open(self) -> Self:
        """Connect. Raises NatsUnavailable or WrongCredentials."""
        self.connection = await Connection.open(self.settings, self._name)
        self.reader = Reader(self.connection, self.subjects)
        self._appender = Appender(self.connection)
        await self._appender.start()
        self._asker = Asker(self.connection, self.subjects)
        self._operator = Operator(self._asker, self.subjects, self.reader)
        self._kinds = KindBook(self._asker)
        self._watcher = Watcher(self.connection, self.subjects, self.reader)
        self._objects = ObjectStore(self.connection, self.subjects, self._appender, self.largest_object)
        self._submitter = Submitter(
            self.subjects,
            self._appender,
            self.reader,
            self._objects,
            self._keep_trying_s,
            lambda: self._kinds.refuses,
        )
        self._schedules = Schedules(
            self.connection, self.subjects, self._asker, self._clock, self._keep_trying_s
        )
        self._background = asyncio.create_task(self._run())
        return self

    async def _run(self) -> None:
        try:
            async with Background() as background:
                background.spawn(self._appender.run())
                background.spawn(self._watcher.run())
                background.spawn(self._until_closed())
                await self._stop.wait()
                await background.end()
        except Exception as error:
            log.exception("the client stopped")
            self._watcher.give_up(error)
            raise

    async def _until_closed(self) -> None:
        await self.connection.closed.wait()
        raise NatsUnavailable(f"the connection to NATS at {self.settings.url} is closed for good")

    async def close(self) -> None:
        """Let go of NATS; tasks go on."""
        if self._background is None:
            return
        self._stop.set()
        with contextlib.suppress(Exception):
            await self._background
        self._background = None
        self._watcher.give_up(OutriderError("the client is closed"))
        await self.connection.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- submit

    async def submit(  # noqa: PLR0913 - each is a field of the task
        self,
        kind: str,
        payload: Any = None,
        *,
        priority: int = DEFAULT_PRIORITY,
        deadline_s: float | None = None,
        timeout_s: float | None = None,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        requires: Iterable[str] = (),
        key: str | None = None,
        limit_key: str | None = None,
        after: Iterable[str | HasTaskId] = (),
        on_failure: OnFailure | str | None = None,
        after_group: GroupRef | None = None,
        hedge: bool = False,
        **when: Unpack[Arrangement],
    ) -> Task:
        """Have a task accepted, durably. The same `key` again gives the same task, also when it is over.

        `delay_s` or `run_at` start it later; with `unique` or `unique_key` the open task of the same work
        is the answer; with `debounce_s` and `debounce_key` only the last submit runs, after the quiet time.
        `eta` asks first when it will finish (`task.eta`); with `refuse_late` a task whose deadline cannot
        be met is not submitted, but Refused.

        With `hedge` a second agent may run it too when it takes unusually long: only for what may run twice.
        It starts when `after` and `after_group` have ended. Raises TaskNotFound for them, UnknownKind,
        InvalidTask, InvalidName, PayloadTooLarge, QueueFull, IdempotencyConflict, OutcomeUnknown when NATS
        stays away, NobodyAnswers when no orchestrator ever ran.
        """
        waits = (after, on_failure, after_group, hedge)
        new = NewTask(
            kind, payload, priority, deadline_s, timeout_s, max_attempts, requires, key, limit_key, *waits
        )
        packed = pack(new, self._clock.wall(), self.largest_object)
        await self._submitter.refuse_unknown_parents([packed])
        warning = await self._kinds.check(packed.envelope.kind, packed.envelope.requires)
        eta = None
        if when:
            eta, doubt = await self._foreseen(packed.envelope, payload, deadline_s, when)
            warning = warning or doubt
        task = self._handle(packed, warning)
        task.eta = eta
        if when:
            await self._submitter.store_payload(packed)
            answer = await self._schedules.submit(packed.envelope, options_of(when))
            # Not one that must be found: a replica that is asked for it may be behind.
            accepted, _ = await self._find(answer.task_id)
            accepted.warning = warning
            return accepted
        await self._watcher.listen([packed.task_id])
        known = await self._submitter.submit(packed)
        if known is not None:
            self._believe(task, known)
        return task

    async def schedule(
        self, kind: str, payload: Any = None, *, cron: str, time_zone: str | None = None, **task: Any
    ) -> ScheduleView:
        """A new task at each fire of `cron`, in `time_zone` or UTC; `task` as in `submit`.

        The same `key` again is the same schedule. Raises InvalidTask, QueueFull or IdempotencyConflict.
        """
        packed = pack(NewTask(kind, payload, **task), self._clock.wall(), self.largest_object)
        await self._kinds.check(packed.envelope.kind, packed.envelope.requires)
        await self._submitter.store_payload(packed)
        return await self._schedules.add(packed.envelope, cron, time_zone)

    @overload
    async def submit_many(
        self, tasks: Iterable[NewTask | tuple[str, Any]], group: None = None, hook: None = None
    ) -> list[Task]: ...

    @overload
    async def submit_many(
        self,
        tasks: Iterable[NewTask | tuple[str, Any]],
        group: str | Literal[True],
        hook: NewTask | None = None,
    ) -> Group: ...

    async def submit_many(
        self,
        tasks: Iterable[NewTask | tuple[str, Any]],
        group: str | Literal[True] | None = None,
        hook: NewTask | None = None,
    ) -> list[Task] | Group:
        """Have many tasks accepted, pipelined. Bad input is refused before anything is sent.

        With `group`, a name or True for a new one, they belong together, and the same name again is the same
        group; its `hook` runs once after all of them ended, with `on_failure` as `run` by default.
        Raises what `submit` raises, or PartlySubmitted with the tasks that were accepted.
        """
        if group is None:
            return await self._submit_all(await pack_all(tasks, self._clock.wall(), self.largest_object))
        packed = await pack_group(
            self.reader, list(tasks), group, hook, self._clock.wall(), self.largest_object
        )
        handles = await self._submit_all(packed.tasks)
        return Group(self, packed.ref, handles[: packed.ref.size])

    async def _submit_all(self, packed: list[Packed]) -> list[Task]:
        await self._submitter.refuse_unknown_parents(packed)
        checked = {(p.envelope.kind, p.envelope.requires) for p in packed}
        warnings = {pair: await self._kinds.check(*pair) for pair in checked}
        handles = [self._handle(p, warnings[p.envelope.kind, p.envelope.requires]) for p in packed]
        await self._watcher.listen([p.task_id for p in packed])
        outcomes = await self._submitter.submit_many(packed)
        errors = {number: error for number, error in enumerate(outcomes) if error is not None}
        if errors:
            accepted = [None if number in errors else handle for number, handle in enumerate(handles)]
            first = next(iter(errors.values()))
            message = f"{len(errors)} of {len(packed)} tasks were refused: {first}"
            raise PartlySubmitted(message, accepted, errors)
        for handle, p in zip(handles, packed, strict=True):
            if p.is_named:
                await self._watcher.refresh(handle.watch)
        return handles

    def _handle(self, packed: Packed, warning: str | None) -> Task:
        watch = self._watcher.watch(packed.task_id)
        watch.know(packed.envelope)
        return Task(self, watch, warning)

    def _believe(self, task: Task, known: Known) -> None:
        task.watch.replace(known.story)
        if known.envelope is not None:
            task.watch.know(known.envelope)

    # ---- tasks that exist

    async def task(self, task_id: str) -> Task:
        """A handle on a task that was submitted before, by anybody. Raises TaskNotFound."""
        task, is_there = await self._find(check_name(task_id, "task_id"))
        if not is_there:
            raise self._no_such_task(task_id)
        return task

    async def _find(self, task_id: str) -> tuple[Task, bool]:
        """A handle, and whether the task stands anywhere."""
        task = Task(self, self._watcher.watch(task_id))
        await self._watcher.listen([task_id])
        known, is_there = await self.reader.known(task_id), True
        if known.is_nothing and await self._schedules.find(task_id) is None:
            known = await self.reader.known(task_id)
            is_there = not known.is_nothing
        self._believe(task, known)
        return task, is_there

    async def group(self, group: str) -> Group:
        """A group that was submitted before. Raises TaskNotFound."""
        ref = await open_group(self.reader, group)
        ids = ref.ids()
        found = Group(self, ref, [Task(self, self._watcher.watch(task_id)) for task_id in ids])
        await self._watcher.listen(ids)
        await found.progress()
        return found

    def _no_such_task(self, task_id: str) -> TaskNotFound:
        return TaskNotFound(f"fleet {self.subjects.fleet!r} knows no task {task_id!r}")

    async def get(self, task_id: str) -> TaskView:
        """The task as it is now. Raises TaskNotFound."""
        try:
            return await self._asker.get(task_id)
        except (NobodyAnswers, TimedOut):
            known = await self.reader.known(task_id)
        if known.is_nothing:
            if (scheduled := await self._schedules.find(task_id)) is None:
                raise self._no_such_task(task_id)
            return scheduled.as_task()
        if known.waiting is not None and not known.story.expect:
            return known.waiting.view(self._clock.wall())
        return known.story.view()

    async def fetch(self, ref: ObjectRef) -> Any:
        """The large payload or result that a view's `payload_ref` or `result_ref` names.

        Raises ObjectMissing when it is expired, ObjectCorrupt, or PayloadTooLarge over this client's limit.
        """
        return value_in(await self._objects.get(ref))

    async def tasks(self, state: TaskState | str | None = None, limit: int = DEFAULT_LIMIT) -> list[TaskView]:
        """The newest tasks, those that wait first. Raises NobodyAnswers when no orchestrator ever ran."""
        wanted = None if state is None else TaskState(state)
        listing = Listing(self.connection, self.subjects, self.reader)
        found = await listing.newest(wanted, limit, self._clock.wall())
        if wanted in (None, TaskState.SCHEDULED):
            found = await self._schedules.delayed(limit) + found
        return found[:limit]

    async def cancel(self, task_id: str, reason: str = "") -> TaskView:
        """End the task now. Raises TaskNotFound, Refused when it is over, NobodyAnswers."""
        return await self._asker.cancel(task_id, reason)

    # ---- what task handles use

    async def until_over(self, watch: Watch) -> None:
        await self._watcher.until_over(watch)

    def each_over(self, watches: list[Watch]) -> AsyncGenerator[Watch, None]:
        return self._watcher.each_over(watches)

    def pieces(self, watch: Watch, start: Start) -> AsyncGenerator[Piece, None]:
        reader = ChunkReader(self.connection, self.subjects, self.reader, self._watcher, watch, start)
        return reader.pieces()

    def states(self, watch: Watch) -> AsyncGenerator[TaskView, None]:
        return self._watcher.states(watch)
