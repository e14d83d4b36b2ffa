"""Everything that can happen to the orchestrator's core, as facts in the past tense.

Pure. Instants are on the orchestrator's own monotonic clock; the shell converts at the door.
"""

from __future__ import annotations

from dataclasses import dataclass

from outrider.broker.facts import TaskFacts
from outrider.broker.flows import Waits
from outrider.broker.limits import Limit
from outrider.broker.messages import SpooledEpoch
from outrider.broker.quick import quickly_made
from outrider.broker.routing import Choice, RouteReason
from outrider.broker.states import AgentState
from outrider.ledger.control import Control
from outrider.ledger.entries import Member
from outrider.ledger.fold import Record, Story


@quickly_made
@dataclass(frozen=True, slots=True)
class TaskPulled:
    """A waiting task came from the queue."""

    task_id: str
    kind: str
    priority: int
    facts: TaskFacts
    requires: tuple[str, ...]
    max_attempts: int
    timeout_s: float | None
    deadline: float | None
    submitted: float
    waits: Waits | None = None
    limit_key: str | None = None
    deliveries: int = 1
    """How often the queue gave it out, this time included."""
    may_hedge: bool = False


@quickly_made
@dataclass(frozen=True, slots=True)
class TaskUnreadable:
    """A message of the queue whose body or subject makes no sense."""

    task_id: str
    kind: str
    priority: int
    why: str


@quickly_made
@dataclass(frozen=True, slots=True)
class Routed:
    """The router answered a round."""

    round: int
    choices: tuple[Choice, ...]
    model: str
    held: tuple[str, ...] = ()


@quickly_made
@dataclass(frozen=True, slots=True)
class RouteFailed:
    """The router did not answer a round in time, or not at all, or nonsense."""

    round: int
    reason: RouteReason


@quickly_made
@dataclass(frozen=True, slots=True)
class Written:
    """The entry that the core asked for, by its number, is stored."""

    task_id: str
    number: int
    seq: int


@quickly_made
@dataclass(frozen=True, slots=True)
class WriteFailed:
    """The entry is not stored, or nobody knows. `is_settled` means certainly not stored."""

    task_id: str
    number: int
    is_settled: bool
    why: str


@quickly_made
@dataclass(frozen=True, slots=True)
class EntryStored:
    """An entry of the ledger arrived, from anybody. `at` is when it was stored."""

    record: Record
    at: float
    deadline: float | None = None


@quickly_made
@dataclass(frozen=True, slots=True)
class StoryRead:
    """The whole story of a task, read because a write was refused or unknown."""

    task_id: str
    story: Story
    deadline: float | None = None


@quickly_made
@dataclass(frozen=True, slots=True)
class ParentsRead:
    """What became of tasks that others wait for: (task, state), the state empty for one that nobody knows."""

    states: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MayHaveEnded:
    """Somebody ended a task that is not in memory, or seems to have."""

    task_id: str


@dataclass(frozen=True, slots=True)
class MemberStored:
    """What the ledger says of an agent; only replayed at start or written by another orchestrator."""

    member: Member


@quickly_made
@dataclass(frozen=True, slots=True)
class ControlStored:
    """An operator's decision is in the ledger, at `seq`."""

    control: Control
    seq: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """All that the ledger held at start is folded, up to `seq`."""

    seq: int = 0


@quickly_made
@dataclass(frozen=True, slots=True)
class AgentJoined:
    """An instance announced itself and may have the name."""

    agent_id: str
    instance: str
    kinds: tuple[str, ...]
    slots: int
    labels: tuple[str, ...]
    spooled: tuple[SpooledEpoch, ...]
    host: str


@quickly_made
@dataclass(frozen=True, slots=True)
class AgentBeat:
    """A heartbeat or the answer to a ping."""

    agent_id: str
    instance: str
    state: AgentState
    slots: int
    running: frozenset[int]
    spooled: frozenset[int]
    kinds: tuple[str, ...] | None
    labels: tuple[str, ...] | None


@quickly_made
@dataclass(frozen=True, slots=True)
class AgentUnreachable:
    """Nobody listens under the agent's subjects."""

    agent_id: str


@quickly_made
@dataclass(frozen=True, slots=True)
class AssignAnswered:
    """The agent took an attempt or not."""

    task_id: str
    epoch: int
    accepted: bool
    reason: str


@quickly_made
@dataclass(frozen=True, slots=True)
class AssignUnheard:
    """Nobody listened to an assignment."""

    task_id: str
    epoch: int


@quickly_made
@dataclass(frozen=True, slots=True)
class ProgressSeen:
    """A chunk of an attempt passed by."""

    task_id: str
    attempt: int
    agent_id: str


@quickly_made
@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants a task to end."""

    task_id: str
    reason: str


@quickly_made
@dataclass(frozen=True, slots=True)
class PulseHeard:
    """Another orchestrator is alive."""

    orchestrator_id: str
    stopping: bool


@quickly_made
@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The connection to NATS went or came back."""

    is_up: bool


@quickly_made
@dataclass(frozen=True, slots=True)
class LedgerSeen:
    """How full LEDGER is, as a share of its bound."""

    used: float


@dataclass(frozen=True, slots=True)
class LimitSet:
    """An operator set a limit, or took one back: then it limits nothing. `seq` is its place in the stream."""

    limit: Limit
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""


Event = (
    TaskPulled
    | TaskUnreadable
    | Routed
    | RouteFailed
    | Written
    | WriteFailed
    | EntryStored
    | StoryRead
    | ParentsRead
    | MayHaveEnded
    | MemberStored
    | ControlStored
    | Recovered
    | AgentJoined
    | AgentBeat
    | AgentUnreachable
    | AssignAnswered
    | AssignUnheard
    | ProgressSeen
    | CancelRequested
    | PulseHeard
    | LinkChanged
    | LedgerSeen
    | LimitSet
    | Ticked
)
