"""What the agents' handlers did, as they themselves wrote it down: the witness beside the ledger.

Written by the fake agents only; the checks hold the ledger against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from outrider.broker.messages import Assignment


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a handler."""

    task_id: str
    attempt: int
    agent_id: str
    epoch: int
    at: float


@dataclass(slots=True)
class HandlerLog:
    """Runs, what each of them said at its end, and which assignments ever arrived."""

    runs: list[Run] = field(default_factory=list)
    said: dict[tuple[str, int, str], set[object]] = field(default_factory=dict)
    """(task, epoch, agent) to the outcomes that its handler produced."""
    started: set[int] = field(default_factory=set)
    """Epochs for which a handler ever ran."""
    told: dict[int, float] = field(default_factory=dict)
    """Epoch to when its agent first heard of it."""
    ends_at: dict[str, float] = field(default_factory=dict)
    """When the newest run of each task will return."""
    on_told: Callable[[str, Assignment], None] = lambda agent_id, assignment: None
    on_got: Callable[[Assignment, Any], None] = lambda assignment, payload: None
    """Called with what a handler found where its large payload should be."""

    def run(self, run: Run) -> None:
        self.runs.append(run)
        self.started.add(run.epoch)

    def hear(self, agent_id: str, assignment: Assignment, now: float) -> None:
        """An assignment arrived, whatever becomes of it."""
        self.told.setdefault(assignment.epoch, now)
        self.on_told(agent_id, assignment)

    def say(self, task_id: str, epoch: int, agent_id: str, outcome: object) -> None:
        self.said.setdefault((task_id, epoch, agent_id), set()).add(outcome)
