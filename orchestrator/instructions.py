"""Everything the core can ask of the shell, in the imperative.

Pure. None of these carries a payload: the shell has it in hand or reads it from the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass

from outrider.broker.quick import quickly_made
from outrider.broker.routing import RouteRequest
from outrider.ledger.entries import Entry, Member


@quickly_made
@dataclass(frozen=True, slots=True)
class Write:
    """Append an entry, expecting `expect` as the last sequence of the task's story; answer by its number."""

    task_id: str
    number: int
    entry: Entry
    expect: int


@quickly_made
@dataclass(frozen=True, slots=True)
class WriteMember:
    """Append what became of an agent."""

    member: Member


@quickly_made
@dataclass(frozen=True, slots=True)
class ReadStory:
    """Read a task's story and answer with StoryRead."""

    task_id: str


@quickly_made
@dataclass(frozen=True, slots=True)
class ReadParents:
    """Look up in queue and ledger what became of these tasks; answer with ParentsRead."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Ask the router; answer with Routed or RouteFailed within the budget."""

    round: int
    request: RouteRequest


@quickly_made
@dataclass(frozen=True, slots=True)
class Assign:
    """Tell an agent of its attempt. `envelope_seq` is where the ledger keeps the task itself."""

    task_id: str
    agent_id: str
    attempt: int
    epoch: int
    expect: int
    envelope_seq: int


@quickly_made
@dataclass(frozen=True, slots=True)
class Release:
    """The payload is not needed any more."""

    task_id: str


@quickly_made
@dataclass(frozen=True, slots=True)
class AckTask:
    """The ledger knows the task: remove its message from the queue."""

    task_id: str


@quickly_made
@dataclass(frozen=True, slots=True)
class GiveBack:
    """Nobody fits now: return the message to the queue for `delay_s`."""

    task_id: str
    delay_s: float


@quickly_made
@dataclass(frozen=True, slots=True)
class StopAttempt:
    """Tell an agent to stop an attempt."""

    agent_id: str
    task_id: str
    epoch: int
    reason: str


@quickly_made
@dataclass(frozen=True, slots=True)
class Renew:
    """Tell an agent that the epoch of its live attempt moved."""

    task_id: str
    agent_id: str
    attempt: int
    epoch: int
    expect: int


@quickly_made
@dataclass(frozen=True, slots=True)
class PingAgent:
    """Ask an agent for a sign of life; answer with AgentBeat or AgentUnreachable."""

    agent_id: str
    instance: str


@quickly_made
@dataclass(frozen=True, slots=True)
class Announce:
    """The task ended here; whoever waits for that may look at the ledger."""

    task_id: str
    state: str


Instruction = (
    Write
    | WriteMember
    | ReadStory
    | ReadParents
    | Route
    | Assign
    | Release
    | AckTask
    | GiveBack
    | StopAttempt
    | Renew
    | PingAgent
    | Announce
)
