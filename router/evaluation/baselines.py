"""The policies to compare with: what gateways do. Each chooses at once; agents queue what they cannot start.

They see arrivals and ends as a router would, and, where a policy learns, the same history as ours.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from outrider.router.evaluation.simulation import AgentNow, Placement
from outrider.router.evaluation.world import SimTask

History = Mapping[str, Sequence[float]]
"""Service seconds that each agent was seen to need before the evaluation began."""
EWMA_MOVE = 0.1


@dataclass(frozen=True, slots=True)
class Sight:
    """What a policy sees when a task arrives. Agents are numbers into `load` (in flight now) and `agents`."""

    now: float
    task: SimTask
    there: Sequence[int]
    load: Sequence[int]
    agents: Sequence[AgentNow]

    def load_per_slot(self, agent: int) -> float:
        """What each of its slots would have to do if the task went there."""
        return (self.load[agent] + 1) / self.agents[agent].slots


class Immediate(ABC):
    """Places each task the moment it arrives."""

    name = ""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def place(
        self, now: float, waiting: Sequence[int], tasks: Sequence[SimTask], agents: Sequence[AgentNow]
    ) -> Sequence[Placement]:
        load = [agent.in_flight for agent in agents]
        there = [number for number, agent in enumerate(agents) if agent.is_there]
        placements = []
        for task in waiting if there else ():
            chosen = self.choose(Sight(now, tasks[task], there, load, agents))
            load[chosen] += 1
            placements.append(Placement(task, chosen))
        return placements

    @abstractmethod
    def choose(self, sight: Sight) -> int:
        """The agent's number, one of `there`."""

    def placed(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> None:
        """Most learn nothing from a placement."""
        return

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        """Most learn nothing from an end."""
        return

    def lowest(self, there: Sequence[int], cost: Callable[[int], float]) -> int:
        """The cheapest, drawn among equals."""
        costs = [cost(number) for number in there]
        least = min(costs)
        return self.random.choice([at for at, found in zip(there, costs, strict=True) if found == least])


class RandomChoice(Immediate):
    name = "random"

    def choose(self, sight: Sight) -> int:
        return self.random.choice(sight.there)


class RoundRobin(Immediate):
    name = "round_robin"
    _turn = 0

    def choose(self, sight: Sight) -> int:
        self._turn += 1
        return sight.there[self._turn % len(sight.there)]


class LeastOutstanding(Immediate):
    name = "least_outstanding"

    def choose(self, sight: Sight) -> int:
        return self.lowest(sight.there, lambda number: sight.load[number])


class LeastOutstandingPerSlot(Immediate):
    name = "least_outstanding_per_slot"

    def choose(self, sight: Sight) -> int:
        return self.lowest(sight.there, sight.load_per_slot)


class PowerOfTwo(Immediate):
    name = "power_of_two"

    def choose(self, sight: Sight) -> int:
        pair = self.random.sample(list(sight.there), min(2, len(sight.there)))
        return self.lowest(pair, lambda number: sight.load[number])


class Averages(Immediate):
    """Keeps a moving average of each agent's latency, beginning with the history's."""

    def __init__(self, seed: int, agents: Sequence[str], history: History) -> None:
        super().__init__(seed)
        known = [sum(seconds) / len(seconds) for seconds in history.values() if seconds]
        usual = sum(known) / len(known) if known else 1.0
        self.mean_s = [
            sum(history[name]) / len(history[name]) if history.get(name) else usual for name in agents
        ]

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        self.mean_s[agent] += EWMA_MOVE * (service_s - self.mean_s[agent])


class PeakEwma(Averages):
    """Moving average of latency times what waits and runs there, per slot."""

    name = "peak_ewma"

    def choose(self, sight: Sight) -> int:
        return self.lowest(sight.there, lambda agent: sight.load_per_slot(agent) * self.mean_s[agent])


@dataclass(slots=True)
class _Probe:
    agent: int
    in_flight: int
    latency_s: float


class Prequal(Averages):
    """A pool of probes; the fastest among those with little in flight, else the one with least in flight."""

    name = "prequal"
    POOL = 16
    PROBES = 3
    HOT_SHARE = 0.84

    def __init__(self, seed: int, agents: Sequence[str], history: History) -> None:
        super().__init__(seed, agents, history)
        self._recent = [deque([mean], maxlen=10) for mean in self.mean_s]
        self._pool: deque[_Probe] = deque(maxlen=self.POOL)

    def choose(self, sight: Sight) -> int:
        for number in self.random.sample(list(sight.there), min(self.PROBES, len(sight.there))):
            recent = sorted(self._recent[number])
            self._pool.append(_Probe(number, sight.load[number], recent[len(recent) // 2]))
        pool = [probe for probe in self._pool if probe.agent in sight.there]
        loads = sorted(probe.in_flight for probe in pool)
        hot_from = loads[min(len(loads) - 1, int(self.HOT_SHARE * len(loads)))]
        cold = [probe for probe in pool if probe.in_flight < hot_from or hot_from == loads[0]]
        best = (
            min(cold, key=lambda probe: probe.latency_s)
            if cold
            else min(pool, key=lambda probe: probe.in_flight)
        )
        best.in_flight += 1
        self._pool.remove(best)
        return best.agent

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        self._recent[agent].append(service_s)
