"""One task alone among few agents: the same choice as a turn of one, worked out with plain numbers.

Why: most requests are like this, and for them the arrays of a turn cost several times what they save.
Pure. Equal answers are demanded by a test; what a turn decides, this must decide too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from outrider.broker.routing import Candidate, Choice, RouteAgent, RouteReason, RouteRequest, RouteTask
from outrider.router.config import RouterSettings
from outrider.router.decision import TIE_BREAK, draw, draw_for, hash_of
from outrider.router.features import AgentAtKind, agent_at_kind, lone_rows, task_values
from outrider.router.predictor import Grid, Predictor, failure_cost, kind_as_told, pair_as_told
from outrider.router.statistics import AgentStats, KindStats, Statistics
from outrider.router.turn import BEST, MARGIN

MOST_PLACES = 1 + MARGIN
"""With more a turn rules some out by the quick estimate before it asks the forest."""


@dataclass(slots=True)
class _Place:
    """An agent with a free slot that may take the task."""

    agent: RouteAgent
    stats: AgentStats
    at_kind: AgentAtKind
    seen: bool
    base: float
    """Log seconds expected before the forest is asked."""


def choose_alone(
    request: RouteRequest, statistics: Statistics, predictor: Predictor, settings: RouterSettings, now: float
) -> tuple[Choice, ...] | None:
    """The choice for the only task, none when no place is free for it; None for what a turn must decide."""
    if len(request.tasks) != 1 or settings.policy == "random":
        return None
    task = request.tasks[0]
    if draw(task.task_id, "explore") < settings.explore_rate:
        return None
    able = _able(task, request.agents)
    if len(able) > MOST_PLACES:
        return None
    if not able:
        return ()
    kind = kind_as_told(task.kind, request.agents, statistics)
    places = [_place(agent, task.kind, kind, statistics, now) for agent in able]
    grid = _grid(task, kind, places, predictor)
    choice = _choice(task, kind, places, grid, now)
    return None if choice is None else (choice,)


def _able(task: RouteTask, agents: Sequence[RouteAgent]) -> list[RouteAgent]:
    allowed = agents if task.among is None else [agents[index] for index in sorted(set(task.among))]
    return [agent for agent in allowed if agent.in_flight < agent.slots]


def _place(agent: RouteAgent, name: str, kind: KindStats, statistics: Statistics, now: float) -> _Place:
    stats = statistics.agent(agent.agent_id)
    pair = pair_as_told(name, kind, agent, statistics)
    at_kind = agent_at_kind(kind, stats, pair, agent.slots)
    seen = stats.count > 0 or pair.count > 0
    return _Place(agent, stats, at_kind, seen, at_kind.prior + stats.drift_now(now))


def _grid(task: RouteTask, kind: KindStats, places: Sequence[_Place], predictor: Predictor) -> Grid:
    rows = lone_rows(
        task_values(task.facts, kind),
        task.facts.asked_s,
        [place.at_kind for place in places],
        [place.agent.slots for place in places],
        [place.agent.in_flight for place in places],
    )
    return predictor.grid_of(rows, np.array([place.base for place in places]), 1)


def _choice(
    task: RouteTask, kind: KindStats, places: Sequence[_Place], grid: Grid, now: float
) -> Choice | None:
    p50: list[float] = grid.p50[0].tolist()
    cost = failure_cost(kind)
    wait = [_wait_s(place, seconds * cost, now) for place, seconds in zip(places, p50, strict=True)]
    finish = [waiting_s + seconds for waiting_s, seconds in zip(wait, p50, strict=True)]
    if not all(map(isfinite, finish)):
        return None
    chosen = _first(task.task_id, places, finish)
    ranked = sorted(range(len(places)), key=finish.__getitem__)[:BEST]
    if chosen not in ranked:
        ranked[-1] = chosen
    p90 = grid.p90(0, np.array(ranked, np.intp)).tolist()
    candidates = tuple(
        Candidate(places[at].agent.agent_id, wait[at], p50[at], upper, finish[at])
        for at, upper in zip(ranked, p90, strict=True)
    )
    mine = candidates[ranked.index(chosen)]
    reason = _reason(len(places), places[chosen])
    return Choice(task.task_id, mine.agent_id, mine.p50_s, mine.p90_s, mine.finish_s, reason, candidates)


def _wait_s(place: _Place, retry_s: float, now: float) -> float:
    """Expected seconds until an attempt that succeeds starts, as `predictor.waiting` has it."""
    stats = place.stats
    queued = stats.wait_s / (stats.wait_load + 1.0) * (place.agent.in_flight + 1.0)
    success = 1.0 - min(0.9, stats.failing_now(now))
    return queued + retry_s * (1.0 / success - 1.0)


def _first(task_id: str, places: Sequence[_Place], finish: Sequence[float]) -> int:
    toss = hash_of(task_id)
    costs = [
        finish_s * (1.0 + TIE_BREAK * draw_for(toss, hash_of(place.agent.agent_id)))
        for place, finish_s in zip(places, finish, strict=True)
    ]
    return costs.index(min(costs))


def _reason(able: int, chosen: _Place) -> RouteReason:
    if able == 1:
        return RouteReason.ONLY_CANDIDATE
    return RouteReason.MODEL if chosen.seen else RouteReason.COLD
