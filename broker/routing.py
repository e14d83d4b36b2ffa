"""What orchestrator and router say to each other: a batch of tasks and candidates, and the choices.

Pure: shapes only. Durations end in `_s`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from outrider.broker.facts import TaskFacts
from outrider.broker.messages import VERSION
from outrider.broker.quick import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class RouteTask:
    """One task that wants an agent. `among` holds indexes into the request's agents, None means all."""

    task_id: str
    kind: str
    priority: int
    attempt: int
    facts: TaskFacts
    among: tuple[int, ...] | None = None
    deadline_s: float | None = None


@quickly_made
@dataclass(frozen=True, slots=True)
class RouteAgent:
    """One candidate and its load now. `mean_s` holds the orchestrator's moving averages by kind."""

    agent_id: str
    slots: int
    in_flight: int
    mean_s: dict[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    @property
    def free(self) -> int:
        return self.slots - self.in_flight


@quickly_made
@dataclass(frozen=True, slots=True)
class RouteRequest:
    """A batch of tasks and candidates; request to `<fleet>.route`."""

    tasks: tuple[RouteTask, ...]
    agents: tuple[RouteAgent, ...]
    v: int = VERSION
    may_hold: bool = False
    """Tasks may be left waiting for an agent that is full now; `agents` then holds such agents too."""


class RouteReason(StrEnum):
    """Why this agent. The last three are given by the orchestrator's built-in rule."""

    MODEL = "model"
    EXPLORE = "explore"
    COLD = "cold"
    ONLY_CANDIDATE = "only_candidate"
    FALLBACK_NO_ROUTER = "fallback_no_router"
    FALLBACK_TIMEOUT = "fallback_timeout"
    FALLBACK_BAD_ANSWER = "fallback_bad_answer"


@quickly_made
@dataclass(frozen=True, slots=True)
class Candidate:
    """What is expected of one candidate: `finish_s` = `waiting_s` + `p50_s`."""

    agent_id: str
    waiting_s: float
    p50_s: float
    p90_s: float
    finish_s: float


class WhyOut(StrEnum):
    """Why an agent that can do a kind was no candidate."""

    LABELS = "labels"
    COOLING_DOWN = "cooling_down"
    PROBING = "probing"
    SUSPECT = "suspect"
    DRAINING = "draining"
    FULL = "full"


@quickly_made
@dataclass(frozen=True, slots=True)
class Out:
    """One agent that was no candidate."""

    agent_id: str
    why: str
    """A WhyOut; later versions may know more, and nobody decides by it."""


@quickly_made
@dataclass(frozen=True, slots=True)
class PassedOver:
    """Agents that declared the kind, are not gone and were no candidates: a few, and how many were found."""

    agents: tuple[Out, ...]
    count: int


@quickly_made
@dataclass(frozen=True, slots=True)
class Choice:
    """The router's answer for one task; `candidates` are the best few, the chosen one among them."""

    task_id: str
    agent_id: str
    p50_s: float
    p90_s: float
    finish_s: float
    reason: RouteReason
    candidates: tuple[Candidate, ...] = ()


@quickly_made
@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """Choices for a batch, and which model made them. A task without a choice is left unrouted."""

    choices: tuple[Choice, ...]
    model: str
    v: int = VERSION
    held: tuple[str, ...] = ()
    """Tasks left waiting on purpose, for an agent that is full now. Only where the request allows it."""
