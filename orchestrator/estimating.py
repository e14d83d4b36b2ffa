"""When a task would finish that is submitted now: the arithmetic of waiting behind others.

Pure functions over Memory, which they never change. Who asks, counts the queue and reaches the router
stands in `estimate_desk.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, hypot, sqrt

from outrider.broker.estimates import Estimate, EstimateBasis, EstimateRequest, can_meet
from outrider.broker.routing import Candidate, RouteAgent
from outrider.broker.states import AgentState
from outrider.orchestrator import admission
from outrider.orchestrator.agent_table import AgentRecord
from outrider.orchestrator.fallback import SPREAD, UNKNOWN_S, expected_s
from outrider.orchestrator.model import Memory, TaskRecord

WAITING_DOUBT = 0.2
"""Share of the predicted waiting that the p90 allows for what nobody foresees: arrivals, retries, drift."""
SLOWEST_SHARE = 0.1
"""An agent that takes more of the tasks than that decides the p90 of a task behind a queue."""
MOST_PLACES = 1000
HALVINGS = 40
SHORTEST_S = 1e-4


@dataclass(frozen=True, slots=True)
class Forecast:
    """What was said of the candidates, the best first, and by whom."""

    candidates: tuple[Candidate, ...]
    basis: EstimateBasis
    model: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Slots of one agent that get free at the same time and then take a task every `service_s`."""

    ready_s: float
    service_s: float
    count: int = 1


def able(m: Memory, request: EstimateRequest) -> list[AgentRecord]:
    """Agents online for the kind that have the labels."""
    wanted = set(request.requires)
    return [
        agent
        for agent in m.agents.of_kind(request.kind)
        if agent.state is AgentState.ONLINE and wanted <= set(agent.labels)
    ]


def offered(agents: Sequence[AgentRecord], ahead: int, kind: str, most: int) -> tuple[RouteAgent, ...]:
    """The candidates to ask about: those with a free slot, or all as they are when one slot gets free."""
    free = [agent for agent in agents if agent.free > 0]
    if sum(agent.free for agent in free) > ahead:
        return tuple(_as_route_agent(agent, kind, agent.in_flight) for agent in free[:most])
    return tuple(_as_route_agent(agent, kind, max(0, agent.slots - 1)) for agent in agents[:most])


def _as_route_agent(agent: AgentRecord, kind: str, in_flight: int) -> RouteAgent:
    mean_s = {kind: agent.mean_s[kind]} if kind in agent.mean_s else {}
    return RouteAgent(agent.agent_id, max(agent.slots, in_flight + 1), in_flight, mean_s, agent.labels)


def by_averages(agents: Sequence[RouteAgent], kind: str) -> Forecast:
    """The forecast where no router answers."""
    known = [agent.mean_s[kind] for agent in agents if kind in agent.mean_s]
    typical_s = sum(known) / len(known) if known else UNKNOWN_S
    found = []
    for agent in agents:
        p50_s = agent.mean_s.get(kind, typical_s)
        finish_s = expected_s(agent, kind, typical_s, 0)
        found.append(Candidate(agent.agent_id, finish_s - p50_s, p50_s, p50_s * SPREAD, finish_s))
    found.sort(key=lambda candidate: candidate.finish_s)
    # That rule stretches by load to spread tasks; a slot that is free starts its task at once.
    best = tuple(Candidate(c.agent_id, 0.0, c.p50_s, c.p90_s, c.p50_s) for c in found[:5])
    return Forecast(best, EstimateBasis.AVERAGES if known else EstimateBasis.GUESS)


def estimate(
    m: Memory, request: EstimateRequest, agents: Sequence[AgentRecord], ahead: int, forecast: Forecast
) -> Estimate:
    """The estimate for a task with `ahead` others before it."""
    slots = sum(agent.slots for agent in agents)
    warning = _why_unknown(m, request.kind, agents)
    if warning is not None or not forecast.candidates:
        return _unknown(request, ahead, agents, warning or f"no candidate for kind {request.kind!r}")
    best = forecast.candidates[0]
    places, share = _places(m, request.kind, agents, forecast.candidates)
    start_s = start_after(ahead * share, places)
    service_s, p90_s = _service(forecast.candidates, agents) if start_s > 0.0 else (best.p50_s, best.p90_s)
    waiting_s = start_s + best.waiting_s
    p50_s = waiting_s + service_s
    late_s = p50_s + beyond(max(0.0, p90_s - service_s), ahead, slots, start_s)
    return Estimate(
        request.kind,
        request.priority,
        forecast.basis,
        p50_s,
        late_s,
        waiting_s,
        service_s,
        ahead,
        len(agents),
        slots,
        best.agent_id,
        forecast.model,
        forecast.candidates,
        None if request.deadline_s is None else can_meet(request.deadline_s, p50_s, late_s),
        request.deadline_s,
        admission.why_waiting(m, request.kind, request.limit_key),
    )


def _unknown(request: EstimateRequest, ahead: int, agents: Sequence[AgentRecord], warning: str) -> Estimate:
    return Estimate(
        request.kind,
        request.priority,
        EstimateBasis.GUESS,
        ahead=ahead,
        agents=len(agents),
        slots=sum(agent.slots for agent in agents),
        can_meet=None if request.deadline_s is None else can_meet(request.deadline_s, None, None),
        deadline_s=request.deadline_s,
        warning=warning,
    )


def _why_unknown(m: Memory, kind: str, agents: Sequence[AgentRecord]) -> str | None:
    if m.pauses.covers(kind):
        return f"kind {kind!r} is paused: its tasks wait until somebody resumes it"
    return None if agents else f"no agent for kind {kind!r} is online"


def _places(
    m: Memory, kind: str, agents: Sequence[AgentRecord], candidates: Sequence[Candidate]
) -> tuple[list[Place], float]:
    """Where tasks of the kind can run, and which share of all slots that is."""
    typical = {candidate.agent_id: candidate.p50_s for candidate in candidates}
    places: list[Place] = []
    taken = 0
    for agent in agents:
        service_s = agent.mean_s.get(kind) or typical.get(agent.agent_id) or candidates[0].p50_s
        service_s = max(SHORTEST_S, service_s)
        if agent.free > 0:
            places.append(Place(0.0, service_s, agent.free))
        places += [Place(_left_of(m, m.tasks.get(task_id)), service_s) for task_id in agent.tasks]
        taken += agent.slots
        if len(places) > MOST_PLACES:
            break
    return places, taken / max(1, sum(agent.slots for agent in agents))


def _left_of(m: Memory, task: TaskRecord | None) -> float:
    assigned = task.story.assigned if task is not None else None
    if task is None or assigned is None or assigned.p50_s is None:
        return UNKNOWN_S
    age_s = 0.0 if task.accepted_at is None else max(0.0, m.now - task.accepted_at)
    return left_s(assigned.p50_s, assigned.p90_s or assigned.p50_s * SPREAD, age_s)


def left_s(p50_s: float, p90_s: float, age_s: float) -> float:
    """Seconds that a running attempt still takes: one that runs for long is probably a long one."""
    return max(p50_s - age_s, (max(p90_s, age_s) - p50_s) / 2.0, 0.0)


def start_after(ahead: float, places: Sequence[Place]) -> float:
    """Seconds until a task starts behind `ahead` others, if every place takes the next when it is free."""

    def started_by(t: float) -> int:
        return sum(
            (floor((t - place.ready_s) / place.service_s + 1e-9) + 1) * place.count
            for place in places
            if t >= place.ready_s
        )

    low = min((place.ready_s for place in places), default=0.0)
    if not places or started_by(low) > ahead:
        return low
    high = min(place.ready_s + (ahead + 1) * place.service_s for place in places)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        if started_by(middle) > ahead:
            high = middle
        else:
            low = middle
    return high


def beyond(spread_s: float, ahead: float, slots: int, start_s: float) -> float:
    """How far the p90 of the finish lies after its p50.

    `spread_s` is the same of one service; of those ahead, `slots` at a time, the doubts average out.
    """
    return hypot(spread_s * sqrt(1.0 + ahead / max(1, slots) ** 2), WAITING_DOUBT * start_s)


def _service(candidates: Iterable[Candidate], agents: Iterable[AgentRecord]) -> tuple[float, float]:
    """p50 and p90 of whoever gets free first: weighted by how many tasks each candidate takes in a time."""
    slots = {agent.agent_id: agent.slots for agent in agents}
    weights = [(slots.get(c.agent_id, 1) / max(SHORTEST_S, c.p50_s), c) for c in candidates]
    total = sum(weight for weight, _ in weights)
    p50_s = sum(weight * c.p50_s for weight, c in weights) / total
    below = 0.0
    for weight, c in sorted(weights, key=lambda one: one[1].p90_s):
        below += weight / total
        if below > 1.0 - SLOWEST_SHARE:
            return p50_s, c.p90_s
    return p50_s, max(c.p90_s for _, c in weights)
