"""Deliberate defects in what looks after the queue, that the simulator must notice."""

from __future__ import annotations

from typing import Any

from outrider.broker.follower import Stored
from outrider.ledger.entries import Closed
from outrider.orchestrator.sweep import QueueSweep
from outrider.orchestrator.waiting import WaitingTasks
from tests.sim.planting import Swap, bug


@bug
def malformed_left_in_the_queue() -> list[Swap]:
    async def bury(*_: Any) -> None: ...

    return [(QueueSweep, "_bury", bury)]


@bug
def sweep_forgets_later_deadlines() -> list[Swap]:
    async def end_late_ones(_: QueueSweep) -> None: ...

    return [(QueueSweep, "_end_late_ones", end_late_ones)]


@bug
def sweep_removes_before_it_records() -> list[Swap]:
    real = QueueSweep._end

    async def end(self: QueueSweep, stored: Stored, entry: Closed) -> None:
        await self._waiting.remove(stored.seq)
        await real(self, stored, entry)

    return [(QueueSweep, "_end", end)]


@bug
def sweep_leaves_what_it_ended_in_the_queue() -> list[Swap]:
    async def remove(*_: Any) -> None: ...

    return [(WaitingTasks, "remove", remove)]


@bug
def sweep_expires_what_has_a_deadline() -> list[Swap]:
    real = QueueSweep._judge

    async def judge(self: QueueSweep, stored: Stored) -> None:
        clock, self._clock = self._clock, _Ahead(self._clock)
        try:
            await real(self, stored)
        finally:
            self._clock = clock

    return [(QueueSweep, "_judge", judge)]


class _Ahead:
    """A clock that is 5 s ahead."""

    def __init__(self, clock: Any) -> None:
        self._real = clock

    def now(self) -> float:
        return float(self._real.now())

    def wall(self) -> float:
        return float(self._real.wall()) + 5.0
