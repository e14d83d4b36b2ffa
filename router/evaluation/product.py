"""Our router in the simulation: the product's own `route` and `Statistics`, fed as by a ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from outrider.broker.routing import RouteAgent, RouteRequest, RouteTask
from outrider.router import second
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
        asked = {number: tasks[number] for number in waiting[: free + ASKED_AHEAD]}
        return self.ask(now, asked, {number: agents[number] for number in there}, may_hold=True)

    def ask(
        self,
        now: float,
        asked: Mapping[int, SimTask],
        among: Mapping[int, AgentNow],
        *,
        attempt: int = 1,
        may_hold: bool = False,
    ) -> list[Placement]:
        """What the product's `route` says of these tasks and agents."""
        request = RouteRequest(
            tuple(RouteTask(task.task_id, task.kind, 5, attempt, task.facts) for task in asked.values()),
            tuple(RouteAgent(agent.name, agent.slots, agent.in_flight) for agent in among.values()),
            may_hold=may_hold,
        )
        began = time.perf_counter()
        answer = route(
            request, self.statistics, self._known.predictor, self._settings, self._known.begins_at + now
        )
        self.decision_s.append(time.perf_counter() - began)
        task_of = {task.task_id: number for number, task in asked.items()}
        agent_of = {agent.name: number for number, agent in among.items()}
        return [Placement(task_of[c.task_id], agent_of[c.agent_id], c.p50_s, c.p90_s) for c in answer.choices]

    def placed(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> None:
        self.statistics.began(self.attempt_of(now, task, agent, in_flight, chosen))

    def attempt_of(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> Attempt:
        """As the ledger would tell of it."""
        self._epoch += 1
        at, name = self._known.begins_at + now, self._names[agent]
        return Attempt(
            task.task_id,
            name,
            task.kind,
            task.facts,
            self._slots[agent],
            in_flight,
            chosen.p50_s,
            self._epoch,
            at,
            chosen.p90_s,
            self.statistics.base(name, task.kind, at),
        )

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        attempt = second.of_agent(self.statistics, task.task_id, self._names[agent])
        if attempt is None:
            return
        at = self._known.begins_at + now
        self.statistics.forgotten(attempt.task_id)
        if succeeded:
            second.over(self.statistics, task.task_id)
            self.statistics.succeeded(attempt, service_s, at)
        else:
            self.statistics.failed(attempt, at)
