"""Accepts tasks for those who ask with `<fleet>.submit` instead of publishing to TASKS themselves."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from outrider.broker.clock import Clock
from outrider.broker.codec import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, decode, dump, encode, load
from outrider.broker.errors import (
    LEDGER_HINT,
    IdempotencyConflict,
    InvalidTask,
    ObjectMissing,
    PayloadTooLarge,
    QueueFull,
    TaskNotFound,
    UnknownKind,
    WrongSequence,
)
from outrider.broker.follower import Stored
from outrider.broker.messages import Submitted, TaskEnvelope, task_id_of_key
from outrider.broker.object_ref import ref_of
from outrider.broker.objects import ObjectStore
from outrider.broker.pipeline import Appender, guard
from outrider.broker.scheduling import SubmitOptions, has_options
from outrider.broker.schema import from_map
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.orchestrator.core import Core
from outrider.orchestrator.lookup import TaskLookup
from outrider.orchestrator.newcomers import Newcomers
from outrider.orchestrator.overload import refusal
from outrider.orchestrator.waiting import WaitingTasks

Arrange = Callable[[TaskEnvelope, SubmitOptions], Awaitable[tuple[str, TaskState]]]


@dataclass(frozen=True, slots=True)
class Streams:
    """Where a submission looks: what happened, what waits, large payloads, and which kinds there are."""

    lookup: TaskLookup
    waiting: WaitingTasks
    objects: ObjectStore
    newcomers: Newcomers


class Submission:
    """Checks a task, names it, and stores it once."""

    def __init__(
        self,
        subjects: Subjects,
        core: Core,
        appender: Appender,
        clock: Clock,
        streams: Streams,
        arrange: Arrange,
    ) -> None:
        """`arrange` takes the submits that ask for more than to run now."""
        self._subjects = subjects
        self._core = core
        self._appender = appender
        self._clock = clock
        self._lookup = streams.lookup
        self._ledger = streams.lookup.ledger
        self._waiting = streams.waiting
        self._objects = streams.objects
        self._arrange = arrange
        self._newcomers = streams.newcomers

    async def submit(self, _: str, data: bytes) -> Submitted:
        """The accepted task and its state now.

        Raises DecodeError, InvalidTask, UnknownKind, TaskNotFound for one that it shall wait for,
        PayloadTooLarge, ObjectMissing, IdempotencyConflict or QueueFull.
        """
        given = load(data, MAX_BODY_BYTES)
        envelope = self._complete(from_map(TaskEnvelope, given))
        table, kind = self._core.memory.agents, envelope.kind
        if kind not in table.declared and not await self._newcomers.knows(kind):
            known = ", ".join(sorted(table.declared)) or "none so far"
            raise UnknownKind(f"no agent ever declared kind {envelope.kind!r}; known kinds: {known}")
        if has_options(given):
            task_id, state = await self._accept_with(envelope, from_map(SubmitOptions, given))
        else:
            task_id, state = envelope.task_id, await self.place(envelope)
        if self._core.memory.pauses.covers(kind):
            return Submitted(task_id, state, f"kind {kind} is paused: the task waits")
        nobody = f"no agent for kind {kind} is online now"
        return Submitted(task_id, state, None if table.has_online(kind) else nobody)

    async def _accept_with(self, envelope: TaskEnvelope, options: SubmitOptions) -> tuple[str, TaskState]:
        if envelope.after:
            await self._refuse_unknown_parents(envelope.after)
        return await self._arrange((await self._with_payload_stored(envelope))[0], options)

    async def place(self, envelope: TaskEnvelope) -> TaskState:
        """Store a complete task once; returns its state, that of the one that is there already.

        Raises PayloadTooLarge, ObjectMissing, IdempotencyConflict or QueueFull.
        """
        if envelope.after:
            await self._refuse_unknown_parents(envelope.after)
        envelope, body = await self._with_payload_stored(envelope)
        return await self._store(envelope, body)

    def _complete(self, envelope: TaskEnvelope) -> TaskEnvelope:
        key = envelope.idempotency_key
        task_id = envelope.task_id or (task_id_of_key(key) if key is not None else uuid.uuid4().hex)
        if key is not None and task_id != task_id_of_key(key):
            raise InvalidTask("a task with an idempotency key gets its task_id from the key", hint="send one")
        submitted_at = envelope.submitted_at or self._clock.wall()
        return replace(envelope, task_id=task_id, submitted_at=submitted_at).check()

    async def _refuse_unknown_parents(self, after: tuple[str, ...]) -> None:
        unknown = [task_id for task_id, state in (await self._lookup.states(after)).items() if not state]
        if unknown:
            raise TaskNotFound(
                f"after names task {unknown[0]!r}, which neither waits nor stands in the ledger",
                hint="submit what it waits for first",
            )

    async def _with_payload_stored(self, envelope: TaskEnvelope) -> tuple[TaskEnvelope, bytes]:
        """The envelope as it goes into TASKS, its payload in the object store when it is large."""
        ref, body = envelope.payload_ref, encode(envelope)
        if ref is not None and not await self._objects.has(ref):
            raise ObjectMissing(
                f"payload_ref names {ref.sha256} of {ref.size} bytes, which is not in the object store",
                hint="put the object first, under its SHA-256 in hex",
            )
        if len(body) > MAX_ENVELOPE_BYTES and ref is None:
            payload = dump(envelope.payload)
            ref = ref_of(payload)
            await self._objects.put(ref, payload)
            envelope = replace(envelope, payload=None, payload_ref=ref)
            body = encode(envelope)
        if len(body) > MAX_ENVELOPE_BYTES:
            raise PayloadTooLarge(
                f"task of {len(body)} bytes is over the limit of {MAX_ENVELOPE_BYTES} bytes"
            )
        return envelope, body

    async def _store(self, envelope: TaskEnvelope, body: bytes) -> TaskState:
        story = await self._ledger.story(envelope.task_id)
        if story.epoch:
            _refuse_other_work(envelope, story.envelope)
            return self._core.shown_state(envelope.task_id) or story.state
        refuses = refusal(self._core.memory)
        if refuses is not None:
            raise QueueFull(refuses, hint=LEDGER_HINT)
        subject = self._subjects.task(envelope.kind, envelope.priority, envelope.task_id)
        try:
            await self._appender.append(
                subject, body, guard(0, self._subjects.task_anywhere(envelope.task_id))
            )
        except WrongSequence:
            _refuse_other_work(envelope, _envelope_in(await self._waiting.find(envelope.task_id)))
            return self._core.shown_state(envelope.task_id) or TaskState.QUEUED
        return TaskState.QUEUED


def _envelope_in(stored: Stored | None) -> TaskEnvelope | None:
    return decode(TaskEnvelope, stored.data) if stored is not None else None


def _refuse_other_work(envelope: TaskEnvelope, known: TaskEnvelope | None) -> None:
    if envelope.idempotency_key is not None and known is not None and not envelope.is_same_work(known):
        raise IdempotencyConflict(
            f"idempotency key {envelope.idempotency_key!r} already stands for another task: "
            f"{envelope.task_id} of kind {known.kind!r}"
        )
