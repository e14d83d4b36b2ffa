"""What people and agents may ask an orchestrator: submit, get, cancel, agents, stats, join and settle.

Answers only; every decision is the core's, reached through events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from outrider.broker.clock import Clock
from outrider.broker.codec import decode, encode
from outrider.broker.config import LARGEST_OBJECT_BYTES
from outrider.broker.connection import Connection
from outrider.broker.errors import (
    DecodeError,
    InvalidTask,
    NobodyAnswers,
    OutriderError,
    Refused,
    TaskNotFound,
    TimedOut,
)
from outrider.broker.messages import (
    Heartbeat,
    Join,
    Joined,
    Ping,
    Settle,
    Settled,
    TaskEnvelope,
    TaskRequest,
    check_label,
)
from outrider.broker.objects import ObjectStore
from outrider.broker.scheduling import SubmitOptions
from outrider.broker.service import Endpoints
from outrider.broker.states import TERMINAL, AgentState, TaskState
from outrider.broker.subjects import Subjects, check_name, parse_agent
from outrider.broker.views import AgentList, AgentsRequest, TaskView, unstarted
from outrider.ledger.fold import Record
from outrider.ledger.reader import LedgerReader, fold_stored
from outrider.ledger.settling import outcome_epochs, settle
from outrider.orchestrator import events
from outrider.orchestrator.agent_table import MOST_KINDS
from outrider.orchestrator.arrangements import Arrangements
from outrider.orchestrator.core import Core
from outrider.orchestrator.desk import Desk
from outrider.orchestrator.due import DueTasks
from outrider.orchestrator.effects import Effects
from outrider.orchestrator.estimate_desk import EstimateDesk
from outrider.orchestrator.keys import Keys
from outrider.orchestrator.letter_desk import LetterDesk
from outrider.orchestrator.lookup import TaskLookup
from outrider.orchestrator.newcomers import Newcomers, announced
from outrider.orchestrator.overload import refusal
from outrider.orchestrator.pausing import PauseDesk
from outrider.orchestrator.scheduled import ScheduledTasks
from outrider.orchestrator.submission import Streams, Submission
from outrider.orchestrator.sweep import QueueSweep
from outrider.orchestrator.waiting import WaitingTasks

CANCEL_WITHIN_S = 5.0
MOST_SLOTS = 100_000


class Requests:
    """The endpoints of one orchestrator."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        core: Core,
        effects: Effects,
        clock: Clock,
        post: Callable[[events.Event], None],
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._core = core
        self._clock = clock
        self._post = post
        self._ledger = LedgerReader(connection, subjects)
        me, limits, appender = core.memory.me, core.memory.thresholds, effects.appender
        self._waiting = WaitingTasks(connection, subjects, me, appender, self._recorded)
        objects = ObjectStore(connection, subjects, appender, LARGEST_OBJECT_BYTES, clock)
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._newcomers = Newcomers(core, self._until_told)
        lookup = TaskLookup(connection, subjects, self._ledger)
        streams = Streams(lookup, self._waiting, objects, self._newcomers)
        self._submission = Submission(subjects, core, appender, clock, streams, self._arrange)
        bounds = (limits.most_schedules, limits.most_schedule_bytes)
        self._scheduled = ScheduledTasks(connection, subjects, me, appender, clock, bounds)
        keys = Keys(connection, subjects, appender)
        self._arrangements = Arrangements(
            self._submission.place, self._state_of, self._scheduled, keys, clock
        )
        self.due = DueTasks(connection, subjects, appender, keys, self._waiting, self._arrangements.quiet)
        self.sweep = QueueSweep(
            connection,
            subjects,
            self._waiting,
            self._ledger,
            clock,
            core.memory.tasks.__contains__,
        )
        desk = Desk(subjects, core, appender, clock, post)
        self._letters = LetterDesk(desk, self._ledger, self._submission)
        self._pauses = PauseDesk(desk, self._until_told, self._newcomers)
        self._estimates = EstimateDesk(connection, subjects, core, self._newcomers)

    def _recorded(self, record: Record) -> None:
        self._post(events.EntryStored(record, self._clock.now()))

    async def add_to(self, endpoints: Endpoints) -> None:
        s = self._subjects
        people: list[tuple[str, str, Callable[[str, bytes], Awaitable[Any]]]] = [
            ("submit", s.submit, self._submission.submit),
            ("get", s.get, self.get),
            ("cancel", s.cancel, self.cancel),
            ("agents", s.agents, self.agents),
            ("stats", s.stats, self.stats),
            ("dead", s.dead, self._letters.dead),
            ("requeue", s.requeue, self._letters.requeue),
            ("discard", s.discard, self._letters.discard),
            ("pause", s.pause, self._pauses.pause),
            ("resume", s.resume, self._pauses.resume),
            ("estimate", s.estimate, self._estimates.estimate),
            ("join", s.any_join, self.join),
            ("settle", s.any_settle, self.settle),
        ]
        for name, subject, handler in people:
            await endpoints.add(name, subject, handler, queue="orchestrator")

    def _until_told(self, key: str) -> asyncio.Future[None]:
        """Done once the core announces the end of this task, or whatever else has this key."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, []).append(told)
        told.add_done_callback(lambda _: self._forget(key, told))
        return told

    def _forget(self, key: str, told: asyncio.Future[None]) -> None:
        """Whoever gave up waiting leaves nothing behind."""
        waiters = self._waiters.get(key, [])
        if told in waiters:
            waiters.remove(told)
        if not waiters:
            self._waiters.pop(key, None)

    def task_ended(self, task_id: str) -> None:
        """Wake whoever waits for the end of this task."""
        for waiter in self._waiters.pop(task_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _arrange(self, envelope: TaskEnvelope, options: SubmitOptions) -> tuple[str, TaskState]:
        return await self._arrangements.submit(envelope, options)

    async def get(self, _: str, data: bytes) -> TaskView:
        """The task as the ledger, the queue and this orchestrator's memory know it."""
        task_id = check_name(decode(TaskRequest, data).task_id, "task_id")
        return await self._view(task_id)

    async def _state_of(self, task_id: str) -> TaskState | None:
        """The state of a task wherever it is, or None when nobody knows it."""
        try:
            return (await self._view(task_id)).state
        except TaskNotFound:
            return None

    async def _view(self, task_id: str) -> TaskView:
        with contextlib.suppress(TaskNotFound):
            return await self._begun_or_queued(task_id)
        # A task leaves LATER after TASKS has it: one that is in neither may have moved between the two looks.
        return await self._scheduled.view(task_id) or await self._begun_or_queued(task_id)

    async def _begun_or_queued(self, task_id: str) -> TaskView:
        waiting = await self._waiting.find(task_id)
        story = await self._ledger.story(task_id)
        if story.epoch:
            view = story.view()
            shown = self._core.shown_state(task_id)
            if shown is not None and view.state not in TERMINAL:
                view = replace(view, state=shown)
            return self._with_wait(view, story.envelope)
        if waiting is None:
            raise TaskNotFound(f"no task {task_id!r} waits or stands in the ledger")
        envelope = decode(TaskEnvelope, waiting.data)
        waiting_s = max(0.0, self._clock.wall() - waiting.stored_at)
        view = unstarted(envelope, TaskState.QUEUED, submitted_at=waiting.stored_at, waiting_s=waiting_s)
        return self._with_wait(view, envelope)

    def _with_wait(self, view: TaskView, envelope: TaskEnvelope | None) -> TaskView:
        """The view, with the limit that keeps the task from starting, if one does."""
        if envelope is None or view.state not in (TaskState.QUEUED, TaskState.BACKING_OFF):
            return view
        why = self._core.why_waiting(envelope.kind, envelope.limit_key)
        return view if why is None else replace(view, waits_for=why)

    async def cancel(self, _: str, data: bytes) -> TaskView:
        """End a task wherever it is; one that is terminal already stays as it is."""
        request = decode(TaskRequest, data)
        task_id = check_name(request.task_id, "task_id")
        if task_id not in self._core.memory.tasks:
            why = request.reason or "cancelled on request"
            return await self._cancel_unheld(task_id, why)
        done = self._until_told(task_id)
        self._post(events.CancelRequested(task_id, request.reason))
        try:
            await asyncio.wait_for(done, CANCEL_WITHIN_S)
        except TimeoutError:
            raise TimedOut(
                f"task {task_id} is not cancelled yet", hint="ask again: outrider task get"
            ) from None
        return await self._view(task_id)

    async def _cancel_unheld(self, task_id: str, why: str) -> TaskView:
        """End what waits in TASKS or LATER; twice, because it may move from the second to the first."""
        for _ in range(2):
            story = await self._ledger.story(task_id)
            # What does not count under the task's name must not protect it from its end.
            expect = 0 if story.epoch else story.expect
            if await self._waiting.end(task_id, "cancelled", why, self._clock.wall(), expect):
                break
            if view := await self._scheduled.end(task_id, why):
                self._post(events.MayHaveEnded(task_id))
                return view
        self._post(events.MayHaveEnded(task_id))
        return await self._view(task_id)

    def kind_declared(self, kind: str) -> None:
        """Wake whoever asked for a kind before this orchestrator had heard of it."""
        self.task_ended(announced(kind))

    async def agents(self, _: str, data: bytes) -> AgentList:
        """Who is there. A kind that is `expected` is waited for a moment if it is unknown."""
        with contextlib.suppress(DecodeError):
            expected = decode(AgentsRequest, data).expected
            if expected is not None:
                await self._newcomers.knows(expected)
        declared = sorted(self._core.memory.agents.declared)
        paused = tuple(filter(self._core.memory.pauses.covers, declared))
        refuses = refusal(self._core.memory)
        return AgentList(tuple(self._core.agent_views()), tuple(declared), paused, refuses)

    async def stats(self, _: str, __: bytes) -> Any:
        return self._core.stats()

    async def join(self, subject: str, data: bytes) -> Joined:
        """Let an agent in, unless another live instance has its name."""
        join = decode(Join, data)
        agent_id = check_name(join.agent_id, "agent_id")
        if parse_agent(subject) != agent_id:
            raise Refused("an agent may speak for itself only")
        for kind in join.kinds:
            check_name(kind, "kind")
        for label in join.labels:
            check_label(label)
        if not 1 <= join.slots <= MOST_SLOTS or not join.kinds:
            raise InvalidTask(f"agent {agent_id} needs at least one kind and 1 to {MOST_SLOTS} slots")
        if len(self._core.memory.agents.declared | set(join.kinds)) > MOST_KINDS:
            raise Refused(f"the fleet knows {MOST_KINDS} kinds already, and takes no more")
        await self._refuse_if_taken(join)
        self._post(
            events.AgentJoined(
                agent_id, join.instance, join.kinds, join.slots, join.labels, join.spooled, join.host
            )
        )
        return Joined(self._core.memory.me, self._core.memory.thresholds.heartbeat_s)

    async def _refuse_if_taken(self, join: Join) -> None:
        known = self._core.memory.agents.get(join.agent_id)
        if known is None or known.instance in ("", join.instance) or known.state is AgentState.OFFLINE:
            return
        subject = self._subjects.agent(join.agent_id, "ping")
        silence_s = self._core.memory.thresholds.join_silence_s
        try:
            answer = await self._connection.request(subject, encode(Ping(known.instance)), silence_s)
            alive = decode(Heartbeat, answer.data).instance == known.instance
        except (NobodyAnswers, TimedOut):
            return
        except OutriderError:
            alive = True
        if alive:
            raise Refused(
                f"the name {join.agent_id} belongs to a live agent on {known.host or 'another machine'}",
                hint="choose another --name, or stop the other agent first",
            )

    async def settle(self, subject: str, data: bytes) -> Settled:
        """Tell an agent what became of an epoch, from the ledger and nothing else."""
        agent_id = parse_agent(subject)
        request = decode(Settle, data)
        task_id = check_name(request.task_id, "task_id")
        story = fold_stored(task_id, await self._ledger.stored(task_id))
        return settle(story, agent_id, request.epoch, outcome_epochs(list(story.outcomes)))
