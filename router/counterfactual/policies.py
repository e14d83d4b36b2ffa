"""The policies that a replay can ask: each gives the probability of every agent it might have chosen.

Pure. Chance is not drawn but kept as probabilities, so that a replay has no luck of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import comb

from outrider.broker.config import BadSettings
from outrider.broker.routing import RouteAgent, RouteRequest, RouteTask
from outrider.router.beliefs import seconds_of
from outrider.router.config import RouterSettings
from outrider.router.counterfactual.decisions import Ask, Decision, dice_of
from outrider.router.predictor import Predictor
from outrider.router.routing import route
from outrider.router.statistics import Statistics

Cost = Callable[[Decision, Statistics, str], float]
SAME = 1e-9


def _equally(agents: list[str]) -> dict[str, float]:
    return dict.fromkeys(agents, 1.0 / len(agents))


def _cheapest(cost: Cost) -> Ask:
    def ask(decision: Decision, statistics: Statistics) -> dict[str, float]:
        costs = {agent: cost(decision, statistics, agent) for agent in decision.agents}
        least = min(costs.values())
        return _equally([agent for agent, found in costs.items() if found <= least + SAME])

    return ask


def _recorded(decision: Decision, _: Statistics) -> dict[str, float]:
    return dice_of(decision) or {decision.agent_id: 1.0}


def _random(decision: Decision, _: Statistics) -> dict[str, float]:
    return _equally(decision.agents)


def _power_of_two(decision: Decision, _: Statistics) -> dict[str, float]:
    """Of two drawn candidates the one with less in flight; a draw decides between equals."""
    agents, load = decision.agents, decision.load
    if len(agents) < 2:
        return _equally(agents)
    pairs = comb(len(agents), 2)
    return {
        agent: sum(
            1.0 if load[agent] < load[other] else 0.5 if load[agent] == load[other] else 0.0
            for other in agents
            if other != agent
        )
        / pairs
        for agent in agents
    }


def _outstanding(decision: Decision, _: Statistics, agent: str) -> float:
    return decision.load[agent]


def _outstanding_per_slot(decision: Decision, _: Statistics, agent: str) -> float:
    return (decision.load[agent] + 1) / decision.slots[agent]


def _peak_average(decision: Decision, statistics: Statistics, agent: str) -> float:
    """Load per slot times the moving average of the agent at the kind (of the kind, while it has none)."""
    pair = statistics.pair(agent, decision.kind)
    mean = pair.mean if pair.count else statistics.kind(decision.kind).mean
    return (decision.load[agent] + 1) / decision.slots[agent] * seconds_of(mean)


def _predicted(field: str) -> Cost:
    def cost(decision: Decision, _: Statistics, agent: str) -> float:
        return float(next(getattr(c, field) for c in decision.candidates if c.agent_id == agent))

    return cost


POLICIES: dict[str, Ask] = {
    "recorded": _recorded,
    "random": _random,
    "least_outstanding": _cheapest(_outstanding),
    "least_outstanding_per_slot": _cheapest(_outstanding_per_slot),
    "power_of_two": _power_of_two,
    "peak_ewma": _cheapest(_peak_average),
    "predicted_finish": _cheapest(_predicted("finish_s")),
    "predicted_service": _cheapest(_predicted("p50_s")),
}


class UnknownPolicy(BadSettings):
    """No policy of this name can be replayed."""

    code = "unknown_policy"


def policy_named(name: str) -> Ask:
    """Raises UnknownPolicy."""
    if name not in POLICIES:
        raise UnknownPolicy(f"policy {name!r} cannot be replayed", hint=f"use one of: {', '.join(POLICIES)}")
    return POLICIES[name]


def choice_of(predictor: Predictor) -> Ask:
    """What a model would choose of the recorded candidates, each task alone and without exploring."""
    settings = RouterSettings(explore_rate=0.0)

    def ask(decision: Decision, statistics: Statistics) -> dict[str, float] | None:
        # A candidate had a free slot then, whatever the ledger's order of entries makes of it now.
        offered = tuple(
            RouteAgent(agent, decision.slots[agent], min(decision.load[agent], decision.slots[agent] - 1))
            for agent in OrderedDict.fromkeys(decision.agents)
        )
        task = RouteTask(decision.task_id, decision.kind, decision.priority, decision.attempt, decision.facts)
        answer = route(RouteRequest((task,), offered), statistics, predictor, settings, decision.at)
        return {answer.choices[0].agent_id: 1.0} if answer.choices else None

    return ask
