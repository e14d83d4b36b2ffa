"""Deliberate defects in what moves due tasks, that the simulator must notice."""

from __future__ import annotations

from typing import Any

from outrider.broker.pipeline import Pulled
from outrider.orchestrator.due import DueTasks, fire_of
from outrider.orchestrator.keys import Keys
from outrider.orchestrator.scheduled import Scheduled
from tests.sim.planting import Swap, bug
from tests.sim.sim_due import SimDue


@bug
def repeated_fire_counts() -> list[Swap]:
    async def fire(_: DueTasks, task: Scheduled, pulled: Pulled) -> Any:
        return fire_of(task.envelope, pulled.seq, pulled.stored_at)

    return [(DueTasks, "_fire", fire)]


@bug
def fire_not_recorded() -> list[Swap]:
    async def change(*_: Any) -> None: ...

    return [(Keys, "change", change)]


@bug
def due_task_acked_whatever_came_of_it() -> list[Swap]:
    real = SimDue._over
    return [(SimDue, "_over", lambda self, delivery, _: real(self, delivery, None))]
