"""The built-in rule for when the router does not answer: the shortest expected finish from moving averages.

Pure. It knows no model: an agent's own average service time, stretched by how full the agent is.
"""

from __future__ import annotations

from collections.abc import Sequence

from outrider.broker.messages import Candidate, Choice, RouteAgent, RouteReason, RouteTask
from outrider.orchestrator.retry import draw

UNKNOWN_S = 1.0
SPREAD = 2.5
"""p90 over p50 where nothing better is known."""


def expected_s(agent: RouteAgent, kind: str, typical_s: float, taken: int) -> float:
    """Expected finish in seconds on an agent that already has `taken` more than it reported."""
    service_s = agent.mean_s.get(kind, typical_s)
    return service_s * (1.0 + (agent.in_flight + taken) / max(1, agent.slots))


def choose(
    task: RouteTask, agents: Sequence[RouteAgent], taken: dict[str, int], reason: RouteReason
) -> Choice | None:
    """The best candidate that still has a free slot, ties drawn by task id; None when there is none."""
    among = agents if task.among is None else [agents[i] for i in task.among]
    known = [agent.mean_s[task.kind] for agent in among if task.kind in agent.mean_s]
    typical_s = sum(known) / len(known) if known else UNKNOWN_S
    best: tuple[float, float, RouteAgent] | None = None
    for agent in among:
        used = taken.get(agent.agent_id, 0)
        if agent.free - used <= 0:
            continue
        rank = (
            expected_s(agent, task.kind, typical_s, used),
            draw(task.task_id + agent.agent_id, task.attempt),
        )
        if best is None or rank < best[:2]:
            best = (*rank, agent)
    if best is None:
        return None
    finish_s, _, agent = best
    candidate = Candidate(agent.agent_id, 0.0, finish_s, finish_s * SPREAD, finish_s)
    return Choice(task.task_id, agent.agent_id, finish_s, finish_s * SPREAD, finish_s, reason, (candidate,))
