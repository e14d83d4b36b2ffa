"""Every message that crosses the wire but ledger entries: typed, frozen, versioned.

Pure: only shapes and their own consistency. `docs/wire.md` describes them field by field.
Durations end in `_s`, instants in `_at` (seconds since 1970 UTC), and None fields are not sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from outrider.broker.codec import dump
from outrider.broker.errors import InvalidTask
from outrider.broker.flows import OnFailure, Waits, check_member, check_waits
from outrider.broker.object_ref import ObjectRef, ref_of
from outrider.broker.quick import quickly_made
from outrider.broker.schema import is_deeper_than
from outrider.broker.states import AgentState, ErrorClass, TaskState
from outrider.broker.subjects import check_name, check_priority

VERSION = 1
DEFAULT_PRIORITY = 5
DEFAULT_MAX_ATTEMPTS = 3
MOST_ATTEMPTS = 100
LONGEST_TASK_S = 7 * 24 * 3600.0
MAX_PAYLOAD_DEPTH = 60
"""Under the depth of any body, because a payload travels inside an envelope inside an entry."""


@dataclass(frozen=True, slots=True)
class AttemptError:
    """Why one attempt failed."""

    error_class: ErrorClass
    message: str
    retryable: bool
    retry_after_s: float | None = None


@quickly_made
@dataclass(frozen=True, slots=True)
class TaskEnvelope:
    """A task as the client submits it; the body of a TASKS message and of `<fleet>.submit`."""

    kind: str
    payload: Any = None
    task_id: str = ""
    priority: int = DEFAULT_PRIORITY
    deadline_at: float | None = None
    timeout_s: float | None = None
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    requires: tuple[str, ...] = ()
    idempotency_key: str | None = None
    submitted_at: float = 0.0
    payload_ref: ObjectRef | None = None
    """Where the payload lies when it is too large for a message; `payload` is None then."""
    limit_key: str | None = None
    """Whose limits it counts against, beside those of its kind; for example a tenant or an API key's name."""
    v: int = VERSION
    after: tuple[str, ...] | None = None
    """Tasks that must have ended before this one may start."""
    on_failure: OnFailure | None = None
    group: str | None = None
    group_size: int | None = None
    after_group: str | None = None
    """A group whose members must all have ended before this one may start."""
    after_group_size: int | None = None
    requeued_from: str | None = None
    """The dead task that this one does again."""
    hedge: bool | None = None
    """It may run on two agents at once, and shall when it takes unusually long."""

    @property
    def waits(self) -> Waits | None:
        """What the task waits for, or None when it may start at once."""
        if not self.after and self.after_group is None:
            return None
        on_failure = self.on_failure or OnFailure.CANCEL
        after = tuple(dict.fromkeys(self.after or ()))
        return Waits(after, on_failure, self.after_group or "", self.after_group_size or 0)

    def is_same_work(self, other: TaskEnvelope) -> bool:
        """Whether both ask for the same: kind and payload."""
        if self.payload_ref is None and other.payload_ref is None:
            return (self.kind, self.payload) == (other.kind, other.payload)
        return (self.kind, self._ref()) == (other.kind, other._ref())

    def _ref(self) -> ObjectRef:
        return self.payload_ref or ref_of(dump(self.payload))

    def check(self) -> TaskEnvelope:
        """The envelope itself when its fields make sense. Raises InvalidName or InvalidTask."""
        check_name(self.kind, "kind")
        check_name(self.task_id, "task_id")
        check_priority(self.priority)
        for label in self.requires:
            check_label(label)
        if self.limit_key is not None:
            check_name(self.limit_key, "limit_key")
        if not 1 <= self.max_attempts <= MOST_ATTEMPTS:
            raise InvalidTask(f"max_attempts {self.max_attempts} is not between 1 and {MOST_ATTEMPTS}")
        if self.timeout_s is not None and not 0 < self.timeout_s <= LONGEST_TASK_S:
            raise InvalidTask(f"timeout_s {self.timeout_s} is not between 0 and {LONGEST_TASK_S:.0f}")
        if is_deeper_than(MAX_PAYLOAD_DEPTH, self.payload):
            raise InvalidTask(f"payload is nested deeper than {MAX_PAYLOAD_DEPTH} levels")
        if self.payload_ref is not None:
            self.payload_ref.check()
            if self.payload is not None:
                raise InvalidTask("a task has a payload or a payload_ref, not both")
        if self.v != VERSION:
            raise InvalidTask(f"task version {self.v} is not known here", hint=f"send version {VERSION}")
        if self.group is not None:
            check_member(self.task_id, self.group, self.group_size)
        waits = self.waits
        if waits is not None:
            check_waits(self.task_id, waits)
        return self


def check_label(label: str) -> str:
    """A label is 1 to 128 printable signs without blanks. Raises InvalidTask."""
    if 0 < len(label) <= 128 and label.isprintable() and " " not in label:
        return label
    raise InvalidTask(f"label {label!r} is not 1 to 128 printable signs without blanks")


def task_id_of_key(key: Any) -> str:
    """The task id that an idempotency key stands for, the same for every client. Raises InvalidTask."""
    if not isinstance(key, str) or not 0 < len(key) <= 256:
        raise InvalidTask("an idempotency key is a text of 1 to 256 signs")
    return "k-" + hashlib.sha256(key.encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Submitted:
    """Answer to `<fleet>.submit`."""

    task_id: str
    state: TaskState
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """Body of `<fleet>.get` and `<fleet>.cancel`."""

    task_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SpooledEpoch:
    """A finished attempt whose outcome the ledger does not have yet."""

    task_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Join:
    """An agent announces itself; request to `<fleet>.agent.<agent_id>.join`."""

    agent_id: str
    instance: str
    kinds: tuple[str, ...]
    slots: int
    labels: tuple[str, ...] = ()
    spooled: tuple[SpooledEpoch, ...] = ()
    host: str = ""
    version: str = ""
    v: int = VERSION


@dataclass(frozen=True, slots=True)
class Joined:
    """The orchestrator's answer to a join that it accepts."""

    orchestrator: str
    heartbeat_s: float
    v: int = VERSION


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sign of life; also the answer to `ping`. `running` and `spooled` hold epochs."""

    agent_id: str
    instance: str
    state: AgentState
    slots: int
    running: tuple[int, ...] = ()
    spooled: tuple[int, ...] = ()
    kinds: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    load: dict[str, float] = field(default_factory=dict)
    sent_at: float = 0.0
    v: int = VERSION


@quickly_made
@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt given to an agent; request to `<fleet>.agent.<agent_id>.assign`."""

    task_id: str
    kind: str
    attempt: int
    epoch: int
    expect: int
    payload: Any = None
    priority: int = DEFAULT_PRIORITY
    timeout_s: float | None = None
    deadline_at: float | None = None
    orchestrator: str = ""
    payload_ref: ObjectRef | None = None
    v: int = VERSION


@quickly_made
@dataclass(frozen=True, slots=True)
class AssignAnswer:
    """Whether the agent took the attempt; `reason` says why not."""

    accepted: bool
    reason: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class CancelAttempt:
    """Stop one attempt; request to `<fleet>.agent.<agent_id>.cancel`."""

    task_id: str
    epoch: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Plain yes to cancel, drain and renew; `in_flight` counts what still runs."""

    ok: bool = True
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Drain:
    """Finish what runs, take nothing new; request to `<fleet>.agent.<agent_id>.drain`."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there; request to `<fleet>.agent.<agent_id>.ping`, answered with a Heartbeat.

    With `instance`, only that run of the agent answers; so every run listens without a queue group.
    """

    instance: str = ""
    v: int = VERSION


@dataclass(frozen=True, slots=True)
class Renew:
    """A live attempt's fencing token moved; request to `<fleet>.agent.<agent_id>.renew`."""

    task_id: str
    attempt: int
    epoch: int
    expect: int


@dataclass(frozen=True, slots=True)
class Settle:
    """What became of this epoch? Request to `<fleet>.agent.<agent_id>.settle`."""

    task_id: str
    epoch: int


class Verdict(StrEnum):
    """What the agent does with an outcome it could not record."""

    RECORDED = "recorded"
    SUPERSEDED = "superseded"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class Settled:
    """Answer to settle; `epoch` and `expect` are what a resend must carry."""

    verdict: Verdict
    epoch: int
    expect: int


class ChunkType(StrEnum):
    """What a chunk holds."""

    OUTPUT = "output"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of partial output. `offset` counts the pieces of the attempt from 0."""

    offset: int
    type: ChunkType = ChunkType.OUTPUT
    data: Any = None
    progress: float | None = None
    v: int = VERSION


@dataclass(frozen=True, slots=True)
class Pulse:
    """An orchestrator is there; core message on `<fleet>.orchestrator.<id>.pulse`."""

    orchestrator: str
    in_flight: int = 0
    stopping: bool = False
    v: int = VERSION
