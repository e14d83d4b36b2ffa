"""A task that runs on one agent while another is idle, for tests of second attempts in the core."""

from __future__ import annotations

from typing import Any

from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.config import Thresholds
from tests.unit.orchestrator.drive import Drive

EAGER = Thresholds(hedge_share=1.0, hedge_least_s=1.0)
P95_S = 1.217
"""Of the prediction that the tests make, p50 0.5 s and p90 1.0 s."""


class Pair(Drive):
    """A task that may be hedged runs on `a`; `b` is idle."""

    def __init__(self, thresholds: Thresholds = EAGER, **task: Any) -> None:
        super().__init__(thresholds)
        self.join("a", labels=("gpu",))
        self.pull("t", **{"may_hedge": True, **task})
        self.choose("t", "a")
        self.store()
        self.agree()
        self.join("b")

    def agree(self, *, yes: bool = True) -> None:
        """Whoever was told last answers."""
        told = self.last(do.Assign)
        self.feed(events.AssignAnswered(told.task_id, told.epoch, yes, "" if yes else "full"))

    def pass_s(self, seconds: float) -> list[do.Instruction]:
        """Time goes by in small steps; agents are heard all along."""
        before = len(self.done)
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            for agent in self.core.memory.agents:
                agent.heard_at = self.now
            self.feed(events.Ticked())
        return self.done[before:]

    def asked(self) -> list[do.Route]:
        """Questions for a second agent."""
        return [i for i in self.all(do.Route) if i.request.tasks[0].attempt > 1]

    def hedge(self) -> int:
        """The second attempt is in the ledger, on `b`."""
        self.pass_s(1.5)
        self.choose("t", "b")
        return self.store()
