"""Policies that replay the agents' queues: with a table of averages and drift, and with the true durations.

The oracle is no policy that anybody could have: it shows how far prediction could go with the same choice.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from math import exp, log

from outrider.router.evaluation.baselines import Immediate, Sight
from outrider.router.evaluation.simulation import Placement
from outrider.router.evaluation.world import SimTask, World

DRIFT_MOVE = 0.1
TableHistory = Mapping[tuple[str, str], Sequence[float]]
"""Service seconds by agent and kind, from before the evaluation."""


class TableDrift(Immediate):
    """A mean of logs for each agent and kind, and one moving correction per agent, times load per slot."""

    name = "table_drift"

    def __init__(self, seed: int, agents: Sequence[str], history: TableHistory) -> None:
        super().__init__(seed)
        self._agents = agents
        self._table = {key: sum(map(log, seconds)) / len(seconds) for key, seconds in history.items()}
        self._usual = {
            name: self._mean([v for k, v in self._table.items() if k[0] == name]) for name in agents
        }
        self._drift = [0.0] * len(agents)

    def _mean(self, logs: Sequence[float]) -> float:
        fallback = sum(self._table.values()) / len(self._table) if self._table else 0.0
        return sum(logs) / len(logs) if logs else fallback

    def _log_s(self, agent: int, kind: str) -> float:
        name = self._agents[agent]
        return self._table.get((name, kind), self._usual[name]) + self._drift[agent]

    def choose(self, sight: Sight) -> int:
        return self.lowest(
            sight.there,
            lambda agent: sight.load_per_slot(agent) * exp(min(20.0, self._log_s(agent, sight.task.kind))),
        )

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        if succeeded:
            error = log(service_s + 1e-3) - self._log_s(agent, task.kind)
            self._drift[agent] += DRIFT_MOVE * max(-3.0, min(3.0, error))


class Oracle(Immediate):
    """Knows how long every attempt would take and whether it would succeed; chooses the earliest finish."""

    name = "oracle"

    def __init__(self, seed: int, world: World) -> None:
        super().__init__(seed)
        self._world = world
        self._number = {task.task_id: number for number, task in enumerate(world.tasks)}
        self._free_at = [[0.0] * agent.slots for agent in world.agents]
        self._tries = [1] * len(world.tasks)

    def choose(self, sight: Sight) -> int:
        number = self._number[sight.task.task_id]
        return self.lowest(sight.there, lambda agent: self._end(sight.now, number, agent, sight.load[agent]))

    def _end(self, now: float, task: int, agent: int, load: int) -> float:
        starts = max(now, self._free_at[agent][0])
        beside = min(load, len(self._free_at[agent]) - 1)
        outcome = self._world.serve(task, agent, self._tries[task], beside, starts)
        return starts + outcome.seconds * (1.0 if outcome.succeeds else 1.0 + 1e3)

    def placed(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> None:
        starts = max(now, self._free_at[agent][0])
        beside = min(in_flight, len(self._free_at[agent]) - 1)
        number = self._number[task.task_id]
        outcome = self._world.serve(number, agent, self._tries[number], beside, starts)
        self._tries[number] += 1
        heapq.heapreplace(self._free_at[agent], starts + outcome.seconds)
