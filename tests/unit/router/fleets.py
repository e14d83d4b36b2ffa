"""Virtual fleets that route with the product's own prediction and decision, to compare policies."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from statistics import mean

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent, RouteAnswer, RouteRequest, RouteTask
from outrider.router.artifact import ModelStore
from outrider.router.config import RouterSettings
from outrider.router.predictor import Predictor
from outrider.router.routing import route
from outrider.router.statistics import Attempt, Statistics
from outrider.router.virtual_fleet import Arrival, Ended, VirtualFleet

SLOWER = {"plain-1": 1.0, "plain-2": 1.0, "slow": 2.0, "slower": 4.0}
"""By which factor each agent is slower than the kind needs."""

Factor = Callable[[str, str], float]
"""By which factor an agent (second) is slower at a task (first)."""


def shipped_predictor() -> Predictor:
    model = ModelStore(Path("no-such-state-folder")).load(None)
    return Predictor(model.forest, model.version)


def own_pace(_task_id: str, agent_id: str) -> float:
    return SLOWER[agent_id]


def shuffled_pace(task_id: str, agent_id: str) -> float:
    """The same durations dealt out anew for each task: who runs it says nothing any more."""
    dealt = random.Random(task_id).sample(sorted(SLOWER.values()), len(SLOWER))
    return dealt[list(SLOWER).index(agent_id)]


@dataclass
class RoutedFleet:
    """Four unlike agents with two slots each; everything is drawn from `seed`."""

    policy: str
    factor: Factor = own_pace
    tasks: int = 600
    load: float = 0.5
    seed: int = 11
    statistics: Statistics = field(default_factory=Statistics)
    predictor: Predictor = field(default_factory=shipped_predictor)
    answers: list[RouteAnswer] = field(default_factory=list)
    _running: dict[str, Attempt] = field(default_factory=dict)

    def run(self) -> list[Ended]:
        fleet = VirtualFleet(dict.fromkeys(SLOWER, 2), self._service, self._route, self._began, self._ended)
        return fleet.run(self._arrivals())

    def mean_sojourn_s(self) -> float:
        return mean(ended.sojourn_s for ended in self.run())

    def _arrivals(self) -> list[Arrival]:
        draw = random.Random(self.seed)
        capacity = sum(2 / factor for factor in SLOWER.values())
        at, found = 0.0, []
        for _ in range(self.tasks):
            at += draw.expovariate(self.load * capacity / 2.0)
            chars = int(exp(draw.gauss(5.7, 0.7)))
            found.append(Arrival(at, "chat", TaskFacts(chars + 40, chars, 1, 128)))
        return found

    def _service(self, task: RouteTask, agent: RouteAgent) -> float:
        noise = random.Random(f"{self.seed} {task.task_id}").gauss(0.0, 0.3)
        size: float = (task.facts.prompt_chars / 300) ** 0.4
        return 2.0 * size * exp(noise) * self.factor(task.task_id, agent.agent_id)

    def _route(self, request: RouteRequest, now: float) -> RouteAnswer:
        answer = route(request, self.statistics, self.predictor, RouterSettings(policy=self.policy), now)
        self.answers.append(answer)
        return answer

    def _began(self, start: Ended) -> None:
        agent = start.agent
        attempt = Attempt(
            start.task_id,
            agent.agent_id,
            start.kind,
            start.facts,
            agent.slots,
            agent.in_flight,
            start.p50_s,
            1,
            start.began_at,
            start.p90_s,
            self.statistics.base(agent.agent_id, start.kind, start.began_at),
        )
        self._running[start.task_id] = attempt

    def _ended(self, end: Ended) -> None:
        self.statistics.succeeded(self._running.pop(end.task_id), end.service_s, end.ended_at)
