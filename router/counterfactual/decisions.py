"""Ledger entries to decisions: what was known when each task was assigned, and how long it took from there.

Pure. Folds the statistics that a router would have had, so that a model can be asked again at each decision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from outrider.broker.codec import load
from outrider.broker.errors import OutriderError
from outrider.broker.facts import TaskFacts
from outrider.broker.routing import Candidate
from outrider.broker.schema import from_map
from outrider.broker.subjects import parse_ledger
from outrider.ledger.entries import Assigned
from outrider.router.folding import fold
from outrider.router.statistics import Statistics
from outrider.router.turn import BEST

NOT_JUDGED = frozenset({"dead", "cancelled", "expired", "hedged"})
"""Ends without success; and two attempts at once tell nothing of the choice of one."""
MOST_DECISIONS = 20_000
MOST_OPEN = 100_000
"""Tasks whose end is awaited; beyond that the oldest are given up."""


@dataclass(slots=True)
class Decision:
    """One assignment. `load` and `slots` are those of each candidate at that time, before it.

    A candidate that had no free slot by the ledger's order is left out, unless it was chosen.
    `finish_s` are the seconds until the task succeeded, whatever attempts that took; None: it did not.
    """

    task_id: str
    attempt: int
    kind: str
    priority: int
    at: float
    agent_id: str
    model: str
    facts: TaskFacts
    waited_s: float
    """How long the task was ready before."""
    candidates: tuple[Candidate, ...]
    load: dict[str, int]
    slots: dict[str, int]
    has_all: bool = True
    """Whether every agent that was free stands among the candidates: the ledger keeps the best five."""
    finish_s: float | None = None
    wants: dict[str, float] | None = None
    """With which probability the replayed policy chooses each agent; None when it cannot say."""

    @property
    def agents(self) -> list[str]:
        return [candidate.agent_id for candidate in self.candidates]

    @property
    def in_flight(self) -> int:
        """How many attempts the agent had beside this one."""
        return self.load.get(self.agent_id, 0)


Ask = Callable[[Decision, Statistics], dict[str, float] | None]
"""What the replayed policy would do, told what was known before the decision."""


@dataclass(slots=True)
class Book:
    """Folds a ledger in its order; asks the policy at each decision from `since` (seconds since 1970) on."""

    ask: Ask
    since: float = 0.0
    statistics: Statistics = field(default_factory=Statistics)
    decisions: deque[Decision] = field(default_factory=deque)
    unreadable: int = 0
    dropped: int = 0
    """Older decisions that were let go: no more than MOST_DECISIONS are judged."""
    _open: dict[str, list[Decision]] = field(default_factory=dict)
    _slots: dict[str, int] = field(default_factory=dict)

    def fold(self, subject: str, data: bytes, seq: int, stored_at: float) -> None:
        """Fold one stored entry; one that cannot be read is counted and passed over."""
        try:
            self._note(subject, data, stored_at)
        except (OutriderError, TypeError, ValueError):
            self.unreadable += 1
        fold(self.statistics, subject, data, seq, stored_at)

    def _note(self, subject: str, data: bytes, at: float) -> None:
        where, body = parse_ledger(subject), load(data)
        if not isinstance(body, dict):
            raise TypeError
        type_ = body.get("type")
        if type_ == "assigned" and where.role != "agent":
            self._assigned(body, at)
        elif type_ == "succeeded" and where.role == "agent":
            self._succeeded(where.task_id, where.writer, body, at)
        elif type_ in NOT_JUDGED and where.role != "agent":
            self._open.pop(where.task_id, None)

    def _assigned(self, body: dict[str, Any], at: float) -> None:
        # The payload in the envelope is of no interest here and may be large.
        entry = from_map(Assigned, {name: value for name, value in body.items() if name != "envelope"})
        self._slots[entry.agent_id] = max(1, entry.slots)
        if at < self.since:
            return
        running = self.statistics.by_agent
        agents = [candidate.agent_id for candidate in entry.candidates]
        load = {agent: len(running.get(agent, ())) for agent in agents} | {entry.agent_id: entry.in_flight}
        slots = {agent: self._slots.get(agent, 1) for agent in agents} | {entry.agent_id: max(1, entry.slots)}
        decision = Decision(
            entry.task_id,
            entry.attempt,
            entry.kind,
            entry.priority,
            at,
            entry.agent_id,
            entry.model,
            entry.facts,
            entry.waiting_s,
            tuple(
                c
                for c in entry.candidates
                if c.agent_id == entry.agent_id or load[c.agent_id] < slots[c.agent_id]
            ),
            load,
            slots,
            has_all=len(entry.candidates) < BEST,
        )
        decision.wants = self.ask(decision, self.statistics) if decision.candidates else None
        self.decisions.append(decision)
        if len(self.decisions) > MOST_DECISIONS:
            self.dropped += 1
            self.decisions.popleft()
        self._open.setdefault(entry.task_id, []).append(decision)
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]

    def _succeeded(self, task_id: str, writer: str, body: dict[str, Any], at: float) -> None:
        """Only the agent that was assigned last ends the task; a late word of another ends nothing."""
        waiting = self._open.get(task_id)
        if waiting and waiting[-1].agent_id == writer:
            attempt = self.statistics.running.get(task_id)
            if attempt is None or attempt.epoch != body.get("epoch"):
                return
            for decision in self._open.pop(task_id):
                decision.finish_s = max(0.0, at - decision.at)


def dice_of(decision: Decision) -> dict[str, float] | None:
    """With which probabilities the recorded choice was drawn; None when it was not, or they are not known."""
    if decision.model != "random" or not decision.has_all or len(decision.candidates) < 2:
        return None
    return dict.fromkeys(decision.agents, 1.0 / len(decision.candidates))
