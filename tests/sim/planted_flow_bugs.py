"""Deliberate defects in what waits for what, that the simulator must notice."""

from __future__ import annotations

from outrider.orchestrator import attempts, health
from outrider.orchestrator.barriers import Barrier, Barriers
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.transitions import TaskPhase
from tests.sim.planting import Swap, bug


@bug
def child_starts_when_the_first_parent_ends() -> list[Swap]:
    real = Barrier.close

    def close(self: Barrier, parent: str) -> bool:
        is_news = real(self, parent)
        if is_news:
            self.open, self.open_members, self.left = {}, bytearray(), 0
        return is_news

    return [(Barrier, "close", close)]


@bug
def failed_parents_forgiven() -> list[Swap]:
    real = Barriers.ended
    return [(Barriers, "ended", lambda self, parent, state: real(self, parent, "succeeded"))]


@bug
def blocked_tasks_never_taken_over() -> list[Swap]:
    real = attempts.take_charge

    def take_charge(m: Memory, task: TaskRecord) -> None:
        if task.phase is not TaskPhase.BLOCKED:
            real(m, task)

    return [(attempts, "take_charge", take_charge), (health, "take_charge", take_charge)]
