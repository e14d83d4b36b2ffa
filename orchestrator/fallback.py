"""The built-in rule for when the router does not answer: the shortest expected finish from moving averages.

Pure. It knows no model: an agent's own average service time, stretched by how full the agent is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nsmallest

from outrider.broker.routing import Candidate, Choice, RouteAgent, RouteReason
from outrider.orchestrator.retry import draw

UNKNOWN_S = 1.0
MOST_SHOWN = 5
"""Candidates that the ledger keeps of a choice."""
SPREAD = 2.5
"""p90 over p50 where nothing better is known."""


def expected_s(agent: RouteAgent, kind: str, typical_s: float, taken: int) -> float:
    """Expected finish in seconds on an agent that already has `taken` more than it reported."""
    service_s = agent.mean_s.get(kind, typical_s)
    return service_s * (1.0 + (agent.in_flight + taken) / max(1, agent.slots))


def choose(
    task_id: str, kind: str, agents: Sequence[RouteAgent], taken: Mapping[str, int], reason: RouteReason
) -> Choice | None:
    """The best candidate that still has a free slot, ties drawn by task id; None when there is none.

    `taken` counts what was given to each agent since it reported its load.
    """
    known = [agent.mean_s[kind] for agent in agents if kind in agent.mean_s]
    typical_s = sum(known) / len(known) if known else UNKNOWN_S
    able = [
        (expected_s(agent, kind, typical_s, taken.get(agent.agent_id, 0)), agent.agent_id)
        for agent in agents
        if agent.free > taken.get(agent.agent_id, 0)
    ]
    if not able:
        return None
    best_s = min(able)[0]
    best = [agent_id for finish_s, agent_id in able if finish_s == best_s]
    agent_id = best[int(draw(task_id, 0) * len(best))]
    others = nsmallest(MOST_SHOWN - 1, (one for one in able if one[1] != agent_id))
    candidates = tuple(
        Candidate(name, 0.0, finish_s, finish_s * SPREAD, finish_s)
        for finish_s, name in [(best_s, agent_id), *others]
    )
    return Choice(task_id, agent_id, best_s, best_s * SPREAD, best_s, reason, candidates)
