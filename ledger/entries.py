"""The entries of the ledger: what was decided or happened, in the words of design section 3.

Pure: shapes and decoding only; who may write what when stands in `rules.py`.
Every entry names the `epoch` it follows: the sequence of the last allowed entry of its task, 0 for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.broker.codec import load
from outrider.broker.errors import DecodeError
from outrider.broker.facts import TaskFacts
from outrider.broker.flows import OnFailure, Waits
from outrider.broker.messages import VERSION, AttemptError, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.quick import quickly_made
from outrider.broker.routing import Candidate, PassedOver, RouteReason
from outrider.broker.schema import from_map


@quickly_made
@dataclass(frozen=True, slots=True)
class Assigned:
    """An attempt is given to an agent, and why; written before the agent is told."""

    task_id: str
    attempt: int
    agent_id: str
    instance: str
    epoch: int
    kind: str
    priority: int
    reason: RouteReason
    model: str = ""
    p50_s: float | None = None
    p90_s: float | None = None
    finish_s: float | None = None
    candidates: tuple[Candidate, ...] = ()
    facts: TaskFacts = TaskFacts()
    slots: int = 0
    in_flight: int = 0
    """How many attempts the chosen agent had before this one."""
    waiting_s: float = 0.0
    """How long the task was ready and not running before this entry."""
    envelope: TaskEnvelope | None = None
    """The task itself, with attempt 1."""
    at: float = 0.0
    type: str = "assigned"
    v: int = VERSION
    passed_over: PassedOver | None = None
    """Who declared the kind and was no candidate; None if all were."""


@dataclass(frozen=True, slots=True)
class Hedged:
    """A second agent runs the task beside the first, which takes unusually long; written before it is told.

    `attempt` is the newest number and one. From here on its sequence is the epoch of both attempts.
    """

    task_id: str
    attempt: int
    agent_id: str
    instance: str
    epoch: int
    kind: str
    priority: int
    reason: RouteReason
    model: str = ""
    p50_s: float | None = None
    p90_s: float | None = None
    finish_s: float | None = None
    candidates: tuple[Candidate, ...] = ()
    facts: TaskFacts = TaskFacts()
    slots: int = 0
    in_flight: int = 0
    """How many attempts the second agent had before this one."""
    waiting_s: float = 0.0
    """How long the task was ready and not running before its first attempt of the two."""
    ran_s: float = 0.0
    """How long the first attempt had been running."""
    expected_s: float = 0.0
    """Its predicted 95th percentile."""
    at: float = 0.0
    type: str = "hedged"
    v: int = VERSION


@quickly_made
@dataclass(frozen=True, slots=True)
class Blocked:
    """The task waits for others: the first entry of its life, which keeps the task itself."""

    task_id: str
    kind: str
    priority: int
    after: tuple[str, ...] = ()
    """Those that had not ended when it was written."""
    on_failure: OnFailure = OnFailure.CANCEL
    after_group: str | None = None
    after_group_size: int = 0
    facts: TaskFacts = TaskFacts()
    envelope: TaskEnvelope | None = None
    epoch: int = 0
    at: float = 0.0
    type: str = "blocked"
    v: int = VERSION

    @property
    def waits(self) -> Waits:
        return Waits(self.after, self.on_failure, self.after_group or "", self.after_group_size)


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt ended without a word from its agent: rejected, lost or timed_out."""

    task_id: str
    attempt: int
    agent_id: str
    epoch: int
    type: str
    why: str = ""
    charged: bool = True
    at: float = 0.0
    v: int = VERSION


@quickly_made
@dataclass(frozen=True, slots=True)
class Closed:
    """The task ended without success: dead, cancelled or expired."""

    task_id: str
    epoch: int
    type: str
    reason: str = ""
    error_class: str = ""
    errors: tuple[AttemptError, ...] = ()
    envelope: TaskEnvelope | None = None
    """The task itself, when there was no attempt."""
    kind: str = ""
    at: float = 0.0
    v: int = VERSION


@quickly_made
@dataclass(frozen=True, slots=True)
class Member:
    """What became of an agent: joined, suspect, offline, drained or back."""

    agent_id: str
    type: str
    instance: str = ""
    kinds: tuple[str, ...] = ()
    slots: int = 0
    labels: tuple[str, ...] = ()
    host: str = ""
    why: str = ""
    at: float = 0.0
    v: int = VERSION


Entry = Assigned | Hedged | Blocked | Succeeded | Failed | Ended | Closed

ENTRY_CLASSES: dict[str, type[Entry]] = {
    "assigned": Assigned,
    "hedged": Hedged,
    "blocked": Blocked,
    "succeeded": Succeeded,
    "failed": Failed,
    "rejected": Ended,
    "lost": Ended,
    "timed_out": Ended,
    "dead": Closed,
    "cancelled": Closed,
    "expired": Closed,
}
MEMBER_TYPES = frozenset({"joined", "suspect", "offline", "drained", "back"})


def entry_from_map(value: Any) -> Entry:
    """The checked entry of a decoded body. Raises DecodeError."""
    type_ = value.get("type") if isinstance(value, dict) else None
    kind = ENTRY_CLASSES.get(type_) if isinstance(type_, str) else None
    if kind is None:
        raise DecodeError("body is not a ledger entry: its type is not known here")
    if value.get("v", VERSION) != VERSION:
        raise DecodeError(f"ledger entry of version {value.get('v')!r} is not known here")
    entry: Entry = from_map(kind, value)
    return entry


def decode_entry(data: bytes) -> Entry:
    """The checked entry in a body of LEDGER or `live`. Raises DecodeError."""
    return entry_from_map(load(data))


def decode_member(data: bytes) -> Member:
    """The checked entry in a body of `<fleet>.member.<agent_id>`. Raises DecodeError."""
    member = from_map(Member, load(data))
    if member.type not in MEMBER_TYPES:
        raise DecodeError(f"member entry of type {member.type!r} is not known here")
    return member
