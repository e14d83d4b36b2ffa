"""What a simulated fleet is made of: agents, tasks, and what each attempt would do. Policies never see it.

Pure. Everything is fixed by seeds before a policy runs, so that policies are compared on the same world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from outrider.broker.facts import TaskFacts


@dataclass(frozen=True, slots=True)
class SimTask:
    """One task: all that a policy may know of it, and by when it should be done to count as good."""

    task_id: str
    kind: str
    facts: TaskFacts
    at: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class SimAgent:
    """One agent. It is there from `joins_at` until `leaves_at`."""

    name: str
    slots: int
    joins_at: float = 0.0
    leaves_at: float = float("inf")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt does: how many seconds it takes, whether it succeeds, whether the answer is right."""

    seconds: float
    succeeds: bool = True
    is_correct: bool = True


Serve = Callable[[int, int, int, int, float], Outcome]
"""Outcome of (task number, agent number, attempt, attempts running beside, time)."""


@dataclass(frozen=True, slots=True)
class World:
    """A fleet, its tasks in order of arrival, and what would happen to each on each agent."""

    agents: Sequence[SimAgent]
    tasks: Sequence[SimTask]
    serve: Serve
    load: float
    about: dict[str, str] = field(default_factory=dict)
    hidden_mean_s: Sequence[float] = ()
    """True mean service seconds of each agent; only the load generator and the oracle may look."""
