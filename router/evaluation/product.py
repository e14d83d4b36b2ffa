"""Our router in the simulation: the product's own `route` and `Statistics`, fed as by a ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence

from outrider.broker.routing import RouteAgent, RouteRequest, RouteTask
from outrider.router.config import RouterSettings
from outrider.router.evaluation.history import Known
from outrider.router.evaluation.simulation import AgentNow, Placement
from outrider.router.evaluation.world import SimAgent, SimTask
from outrider.router.routing import route
from outrider.router.statistics import Attempt

ASKED_AHEAD = 8
"""Tasks beyond the free slots in one request; the orchestrator's `hold_ahead`."""


class Outrider:
    """Asks `route` about what waits, after every event, as an orchestrator does."""

    name = "outrider"

    def __init__(self, known: Known, settings: RouterSettings, agents: Sequence[SimAgent]) -> None:
        self._known = known
        self._names = [agent.name for agent in agents]
        self._slots = [agent.slots for agent in agents]
        self._settings = settings
        self.statistics = known.fresh_statistics()
        self.decision_s: list[float] = []
        self._epoch = 0

    def place(
        self, now: float, waiting: Sequence[int], tasks: Sequence[SimTask], agents: Sequence[AgentNow]
    ) -> Sequence[Placement]:
        there = [number for number, agent in enumerate(agents) if agent.is_there]
        free = sum(max(0, agents[number].slots - agents[number].in_flight) for number in there)
        if not free:
            return ()
        asked = {tasks[number].task_id: number for number in waiting[: free + ASKED_AHEAD]}
        request = RouteRequest(
            tuple(RouteTask(task_id, tasks[n].kind, 5, 1, tasks[n].facts) for task_id, n in asked.items()),
            tuple(RouteAgent(agents[n].name, agents[n].slots, agents[n].in_flight) for n in there),
            may_hold=True,
        )
        began = time.perf_counter()
        answer = route(
            request, self.statistics, self._known.predictor, self._settings, self._known.begins_at + now
        )
        self.decision_s.append(time.perf_counter() - began)
        number_of = {agents[n].name: n for n in there}
        return [Placement(asked[c.task_id], number_of[c.agent_id], c.p50_s, c.p90_s) for c in answer.choices]

    def placed(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> None:
        self._epoch += 1
        self.statistics.began(
            Attempt(
                task.task_id,
                self._names[agent],
                task.kind,
                task.facts,
                self._slots[agent],
                in_flight,
                chosen.p50_s,
                self._epoch,
                self._known.begins_at + now,
                chosen.p90_s,
                self.statistics.base(self._names[agent], task.kind, self._known.begins_at + now),
            )
        )

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        attempt = self.statistics.forgotten(task.task_id)
        if attempt is None:
            return
        at = self._known.begins_at + now
        if succeeded:
            self.statistics.succeeded(attempt, service_s, at)
        else:
            self.statistics.failed(attempt, at)
