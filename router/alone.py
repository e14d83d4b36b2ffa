"""One task alone among few agents: the same choice as a turn of one, worked out with plain numbers.

Why: most requests are like this, and for them the arrays of a turn cost several times what they save.
Pure. Equal answers are demanded by a test; what a turn decides, this must decide too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from outrider.broker.routing import (
    Candidate,
    Choice,
    RouteAgent,
    RouteAnswer,
    RouteReason,
    RouteRequest,
    RouteTask,
)
from outrider.router.beliefs import AgentStats, KindStats, doubt_of, scatter_of, seconds_of
from outrider.router.config import RouterSettings
from outrider.router.decision import TIE_BREAK, draw, draw_for, hash_of
from outrider.router.features import AgentAtKind, agent_at_kind, lone_rows, task_values
from outrider.router.predictor import (
    Grid,
    Predictor,
    attempt_ends,
    benefit_of_doubt,
    kind_as_told,
    pair_as_told,
    retry_factor,
)
from outrider.router.statistics import Statistics
from outrider.router.turn import BEST, MARGIN, is_beyond
from outrider.router.underway import slot_waits

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
    beside: int
    """How many attempts will run beside."""
    later_s: float
    """Expected seconds until the place is free."""
    doubt: float
    """Variance of what is believed of the agent at the kind."""


def choose_alone(
    request: RouteRequest, statistics: Statistics, predictor: Predictor, settings: RouterSettings, now: float
) -> RouteAnswer | None:
    """The answer for the only task, no choice when no place is free; None for what a turn must decide."""
    if len(request.tasks) != 1 or settings.policy == "random":
        return None
    task = request.tasks[0]
    if draw(task.task_id, "explore") < settings.explore_rate:
        return None
    able = _able(task, request)
    if len(able) > MOST_PLACES:
        return None
    free = sum(agent.in_flight < agent.slots for agent in able)
    if not free:
        return RouteAnswer((), predictor.version)
    kind = kind_as_told(task.kind, request.agents, statistics)
    places = [_place(agent, task.kind, kind, statistics, now) for agent in able]
    grid = _grid(task, kind, places, predictor, statistics.widen)
    explores = settings.explore_rate > 0.0 and task.attempt == 1
    choice = _choice(task, kind, places, grid, now, free, explores=explores)
    if choice is None:
        return None
    if any(place.later_s and place.agent.agent_id == choice.agent_id for place in places):
        return RouteAnswer((), predictor.version, held=(task.task_id,))
    return RouteAnswer((choice,), predictor.version)


def _able(task: RouteTask, request: RouteRequest) -> list[RouteAgent]:
    """The agents with a place for the task: a free one, or, if it may be held, one that gets free."""
    agents = request.agents
    allowed = agents if task.among is None else [agents[index] for index in sorted(set(task.among))]
    if request.may_hold:
        return [agent for agent in allowed if agent.slots > 0]
    return [agent for agent in allowed if agent.in_flight < agent.slots]


def _place(agent: RouteAgent, name: str, kind: KindStats, statistics: Statistics, now: float) -> _Place:
    stats = statistics.agent(agent.agent_id)
    pair = pair_as_told(name, kind, agent, statistics)
    at_kind = agent_at_kind(kind, stats, pair, agent.slots)
    seen = stats.count > 0 or pair.count > 0
    base = at_kind.prior + statistics.drift_now(agent.agent_id, stats, now)
    doubt = doubt_of(stats, pair, now)
    if agent.in_flight < agent.slots:
        return _Place(agent, stats, at_kind, seen, base, agent.in_flight, 0.0, doubt)
    usual_s = seconds_of(base)
    ends = attempt_ends(agent, stats, statistics, usual_s, now)
    service_s = usual_s * stats.skew
    queued = agent.in_flight - agent.slots
    (later_s,) = slot_waits(ends, agent.slots, queued, 1, service_s)
    return _Place(agent, stats, at_kind, seen, base, agent.slots - 1, later_s, doubt)


def _grid(
    task: RouteTask, kind: KindStats, places: Sequence[_Place], predictor: Predictor, widen: float
) -> Grid:
    rows = lone_rows(
        task_values(task.facts, kind),
        task.facts.asked_s,
        [place.at_kind for place in places],
        [place.agent.slots for place in places],
        [place.beside for place in places],
    )
    base, widened = np.array([(place.base, widen + place.stats.widen) for place in places]).T
    return predictor.grid_of(rows, base, widened, 1)


def _choice(
    task: RouteTask,
    kind: KindStats,
    places: Sequence[_Place],
    grid: Grid,
    now: float,
    free: int,
    *,
    explores: bool,
) -> Choice | None:
    p50: list[float] = grid.p50[0].tolist()
    again = retry_factor(kind)
    wait = [_wait_s(place, seconds * again, now) for place, seconds in zip(places, p50, strict=True)]
    mean = [seconds * place.stats.skew for seconds, place in zip(p50, places, strict=True)]
    finish = [waiting_s + mean_s for waiting_s, mean_s in zip(wait, mean, strict=True)]
    if not all(map(isfinite, finish)):
        return None
    costs = finish
    if explores:
        benefit = _benefit(places)
        costs = [wait_s + mean_s * one for wait_s, mean_s, one in zip(wait, mean, benefit, strict=True)]
    chosen = _first(task.task_id, places, costs)
    ranked = sorted(range(len(places)), key=finish.__getitem__)[:BEST]
    if chosen not in ranked:
        ranked[-1] = chosen
    p90 = grid.p90(0, np.array(ranked, np.intp)).tolist()
    candidates = tuple(
        Candidate(places[at].agent.agent_id, wait[at], p50[at], upper, wait[at] + p50[at])
        for at, upper in zip(ranked, p90, strict=True)
    )
    mine = candidates[ranked.index(chosen)]
    reason = _reason(free, places[chosen], is_beyond(finish[chosen], finish[ranked[0]]))
    return Choice(task.task_id, mine.agent_id, mine.p50_s, mine.p90_s, mine.finish_s, reason, candidates)


def _benefit(places: Sequence[_Place]) -> list[float]:
    """NumPy's exponential and not math's: the last bit must be that of a turn."""
    known = [(place.doubt, scatter_of(place.stats), float(place.agent.in_flight)) for place in places]
    found: list[float] = benefit_of_doubt(*np.array(known).T).tolist()
    return found


def _wait_s(place: _Place, retry_s: float, now: float) -> float:
    """Expected seconds until an attempt that succeeds starts, as `predictor.waiting` has it."""
    stats = place.stats
    queued = stats.wait_s / (stats.wait_load + 1.0) * (place.beside + 1.0)
    retries = stats.failures.retries_beside(place.beside, now)
    return queued + retries * (retry_s + stats.failures.lost_s) + place.later_s


def _first(task_id: str, places: Sequence[_Place], costs: Sequence[float]) -> int:
    toss = hash_of(task_id)
    tossed = [
        cost * (1.0 + TIE_BREAK * draw_for(toss, hash_of(place.agent.agent_id)))
        for place, cost in zip(places, costs, strict=True)
    ]
    return tossed.index(min(tossed))


def _reason(able: int, chosen: _Place, tried: bool) -> RouteReason:
    if able == 1:
        return RouteReason.ONLY_CANDIDATE
    if tried:
        return RouteReason.EXPLORE
    return RouteReason.MODEL if chosen.seen else RouteReason.COLD
