"""Predictions for many (task, agent) pairs at once: what the agent usually needs, the forest, and its drift.

Pure: statistics, a forest and the time come from the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent
from outrider.router.beliefs import (
    FLOOR_S,
    AgentStats,
    KindStats,
    PairStats,
    doubt_of,
    log_seconds,
    prior,
    scatter_of,
    seconds_of,
)
from outrider.router.failures import BARRED
from outrider.router.features import agent_at_kind, pair_rows, task_values
from outrider.router.flat_forest import FlatForest
from outrider.router.statistics import Statistics
from outrider.router.underway import residual_s, slot_waits, soonest

Values = NDArray[np.float64]
HIGHEST_LOG = 16.0
"""Some hundred days: no prediction is longer."""
LOAD_SLOWS = 0.1
"""Guess of the quick estimate, before the forest is asked: a full agent is a tenth slower."""


@dataclass(slots=True)
class Fleet:
    """The agents of one request with what is known of each at this time; one entry per agent."""

    agents: Sequence[RouteAgent]
    stats: list[AgentStats]
    slots: Values
    in_flight: Values
    drift: Values
    wait_s: Values
    """Expected seconds between assignment and start for one attempt running beside none."""
    retries: Values
    """Failures expected before an attempt succeeds."""
    lost_s: Values
    """Mean seconds that one of them takes."""
    is_probed: NDArray[np.bool_]
    """Failed several times in a row: one attempt at a time, until one succeeds."""
    is_resting: NDArray[np.bool_]
    """Of these, those that it is too early to probe again."""
    skew: Values
    """By which factor the mean of an agent's service seconds is above their median."""
    widen: Values
    """Added to the log p90, as learned from coverage."""
    now: float
    count: NDArray[np.intp]
    """How often the agent was observed, at any kind."""
    ends: dict[int, list[float]] = field(default_factory=dict)
    """Of agents that were asked for: expected seconds until their running attempts end, the soonest first."""


@dataclass(slots=True)
class KindView:
    """The agents as one kind sees them."""

    kind: KindStats
    agents: list[tuple[AgentStats, PairStats]]
    prior: Values
    doubt: Values
    """Variance of what is believed of each agent at the kind."""
    scatter: Values
    """Variance of its single attempts around that."""
    count: NDArray[np.intp]
    """Observations of this kind, at most what the statistics remember."""


def fleet_view(agents: Sequence[RouteAgent], statistics: Statistics, now: float) -> Fleet:
    stats = [statistics.agent(agent.agent_id) for agent in agents]
    return Fleet(
        agents,
        stats,
        np.array([float(agent.slots) for agent in agents]),
        np.array([float(agent.in_flight) for agent in agents]),
        np.array([statistics.drift_now(a.agent_id, s, now) for a, s in zip(agents, stats, strict=True)]),
        np.array([s.wait_s / (s.wait_load + 1.0) for s in stats]),
        np.array([s.failures.retries(now) for s in stats]),
        np.array([s.failures.lost_s for s in stats]),
        np.array([s.failures.is_probed(now) for s in stats]),
        np.array([s.failures.is_resting(now) for s in stats]),
        np.array([s.skew for s in stats]),
        np.array([statistics.widen + s.widen for s in stats]),
        now,
        np.array([s.count for s in stats], np.intp),
    )


def attempt_ends(
    agent: RouteAgent, stats: AgentStats, statistics: Statistics, usual_s: float, now: float
) -> list[float]:
    """Expected seconds until the agent's attempts end, soonest first; those unknown here have just begun."""
    spread = stats.error_spread()
    found = [
        residual_s(usual_s if attempt.p50_s is None else attempt.p50_s, spread, now - attempt.at)
        for attempt in statistics.by_agent.get(agent.agent_id, {}).values()
    ]
    found.sort()
    busy = min(agent.in_flight, agent.slots)
    # More than the request says: those that should have ended first probably have.
    del found[: max(0, len(found) - busy)]
    fresh = residual_s(usual_s, spread, 0.0)
    return soonest(found + [fresh] * (busy - len(found)))


def seconds_until_free(
    fleet: Fleet, view: KindView, statistics: Statistics, number: int, count: int
) -> list[float]:
    """Seconds until each of `count` further tasks could start on an agent that is full."""
    agent, stats = fleet.agents[number], fleet.stats[number]
    usual_s = seconds_of(float(view.prior[number] + fleet.drift[number]))
    if number not in fleet.ends:
        fleet.ends[number] = attempt_ends(agent, stats, statistics, usual_s, fleet.now)
    service_s = usual_s * stats.skew
    queued = max(0, int(fleet.in_flight[number]) - agent.slots)
    return slot_waits(fleet.ends[number], agent.slots, queued, count, service_s)


def kind_as_told(name: str, agents: Sequence[RouteAgent], statistics: Statistics) -> KindStats:
    """What is known of a kind; of one nobody was seen to do, the mean of what the orchestrator saw."""
    kind = statistics.kind(name)
    if not kind.count:
        told = [log_seconds(agent.mean_s[name]) for agent in agents if name in agent.mean_s]
        if told:
            kind.mean = sum(told) / len(told)
    return kind


def pair_as_told(name: str, kind: KindStats, agent: RouteAgent, statistics: Statistics) -> PairStats:
    """What is known of an agent at a kind."""
    pair = statistics.pair(agent.agent_id, name)
    if not pair.count and name in agent.mean_s:
        # The orchestrator saw this agent do it and we did not: its average is half believed.
        told = log_seconds(agent.mean_s[name])
        taste = (told - kind.mean - statistics.agent(agent.agent_id).speed) / 2.0
        return PairStats(1, told, kind.spread, taste=taste)
    return pair


def kind_view(name: str, fleet: Fleet, statistics: Statistics) -> KindView:
    kind = kind_as_told(name, fleet.agents, statistics)
    seen = [
        (stats, pair_as_told(name, kind, agent, statistics))
        for agent, stats in zip(fleet.agents, fleet.stats, strict=True)
    ]
    return KindView(
        kind,
        seen,
        np.array([prior(kind, stats, pair) for stats, pair in seen]),
        np.array([doubt_of(stats, pair, fleet.now) for stats, pair in seen]),
        np.array([scatter_of(stats) for stats, _ in seen]),
        np.array([pair.count for _, pair in seen], np.intp),
    )


def benefit_of_doubt(doubt: Values, scatter: Values, under_way: Values) -> Values:
    """By which factor an agent may well be faster at a kind than believed: one standard deviation.

    Who chooses by the lower bound tries what might be better, and stops once it is known. What is under way
    there will tell as well: the doubt counts as far as these attempts will leave it.
    """
    left: Values = doubt * scatter / (scatter + under_way * doubt)
    return np.exp(-np.sqrt(left))


def _seconds(log_values: Values) -> Values:
    return np.maximum(np.exp(np.minimum(log_values, HIGHEST_LOG)) - FLOOR_S, 1e-6)


def quick_p50(view: KindView, fleet: Fleet, agent: NDArray[np.intp], extra: NDArray[np.intp]) -> Values:
    """A rough p50 for each free slot without asking the forest, to rule most of them out."""
    load = np.minimum((fleet.in_flight[agent] + extra) / np.maximum(fleet.slots[agent], 1.0), 1.0)
    return _seconds(view.prior[agent] + fleet.drift[agent]) * (1.0 + LOAD_SLOWS * load)


def beside(fleet: Fleet, agent: NDArray[np.intp], extra: NDArray[np.intp]) -> Values:
    """How many attempts run beside one in this place: all slots but its own, when it has to wait for one."""
    load: Values = np.minimum(fleet.in_flight[agent] + extra, np.maximum(fleet.slots[agent] - 1.0, 0.0))
    return load


def retry_factor(kind: KindStats) -> float:
    """The service of a second attempt, wherever it runs, as a multiple of the p50 of the first."""
    return float(np.exp(min(kind.spread, 1.5) ** 2 / 2.0))


def waiting(
    view: KindView, fleet: Fleet, agent: NDArray[np.intp], extra: NDArray[np.intp], p50: Values
) -> Values:
    """Expected seconds until an attempt that succeeds starts, for each free slot.

    What the agent was seen to add between assignment and start at such a load, and what failures cost: the
    time until they fail, and another service.
    """
    busy = beside(fleet, agent, extra)
    queued: Values = fleet.wait_s[agent] * (busy + 1.0)
    is_barred = fleet.is_resting[agent] | (fleet.is_probed[agent] & (busy > 0))
    retries = np.where(is_barred, BARRED, fleet.retries[agent])
    queued += retries * (p50 * retry_factor(view.kind) + fleet.lost_s[agent])
    return queued


@dataclass(slots=True)
class Grid:
    """Predictions of one kind's task groups for all slots; p90 is worked out only for those reported."""

    p50: Values
    _base: Values
    _widen: Values
    _leaves: NDArray[np.intp]
    _forest: FlatForest

    def p90(self, groups: NDArray[np.intp] | int, slots: NDArray[np.intp]) -> Values:
        """The seconds that nine in ten such attempts stay under, for pairs of group and slot."""
        upper = self._forest.quantile(self._leaves[:, groups * self.p50.shape[1] + slots], 0.9)
        p90: Values = np.maximum(
            _seconds(self._base[slots] + self._widen[slots] + upper), self.p50[groups, slots]
        )
        return p90


class Predictor:
    """A forest with its version. The forest knows how a pair differs from what the agent usually needs."""

    def __init__(self, forest: FlatForest, version: str) -> None:
        self.forest = forest
        self.version = version

    def grid(
        self,
        groups: Sequence[TaskFacts],
        view: KindView,
        fleet: Fleet,
        agent: NDArray[np.intp],
        extra: NDArray[np.intp],
    ) -> Grid:
        """p50 service seconds of each task group in each slot, shape (groups, slots)."""
        tasks = [(task_values(facts, view.kind), facts.asked_s) for facts in groups]
        at_kind = {
            int(i): agent_at_kind(view.kind, view.agents[i][0], view.agents[i][1], fleet.agents[i].slots)
            for i in np.unique(agent)
        }
        rows = pair_rows(
            tasks,
            [at_kind[int(i)] for i in agent],
            fleet.slots[agent].astype(np.float32),
            beside(fleet, agent, extra).astype(np.float32),
        )
        base = view.prior[agent] + fleet.drift[agent]
        return self.grid_of(rows, base, fleet.widen[agent], len(groups))

    def grid_of(self, rows: NDArray[np.float32], base: Values, widen: Values, groups: int) -> Grid:
        """The same from ready rows, groups outermost; `base` is the log seconds expected of each slot,
        `widen` what its p90 lacked so far.
        """
        leaves = self.forest.leaves(rows)
        mean = self.forest.mean(leaves).reshape(groups, len(base))
        return Grid(_seconds(mean + base), base, widen, leaves, self.forest)
