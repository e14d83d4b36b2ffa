"""Second attempts in the simulation, by the rule and budget of the product and with its router.

Knows of an attempt under way what an orchestrator knows: how long it has been running, not how long it will.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from outrider.broker.hedge_rule import LEAST_S, LOOK_S, SHARE, HedgeBudget, p95_s
from outrider.router import second
from outrider.router.evaluation.product import Outrider
from outrider.router.evaluation.simulation import AgentNow, Placement, Policy, SimAttempt, Simulation
from outrider.router.evaluation.world import Outcome, SimTask, World


class HedgedOutrider(Outrider):
    """Our router when it is also asked for agents beside slow ones."""

    name = "outrider_hedged"

    def choose_beside(
        self, now: float, first: Placement, task: SimTask, idle: Mapping[int, AgentNow]
    ) -> Placement | None:
        """Which of these other agents runs the task too; None if the router would have none."""
        return next(iter(self.ask(now, {first.task: task}, idle, attempt=2)), None)

    def placed_beside(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> None:
        """A second attempt was given to the agent, which had this many others."""
        attempt = self.attempt_of(now, task, agent, in_flight, chosen)
        self.statistics.began(second.begin(self.statistics, attempt))


class HedgingSimulation(Simulation):
    """A task that takes longer than its own p95 may run twice; the first success counts."""

    def __init__(self, world: World, policy: HedgedOutrider) -> None:
        super().__init__(world, policy)
        self._hedger = policy
        self._budget = HedgeBudget()
        self._assignments = 0

    def _assign(self, now: float, chosen: Placement) -> SimAttempt:
        first = super()._assign(now, chosen)
        self._assignments += 1
        self._at(now + max(LEAST_S, p95_s(chosen.p50_s, chosen.p90_s)), partial(self._look, first))
        return first

    def _look(self, first: SimAttempt, now: float) -> None:
        """Begin a second attempt if one is possible now, else look again; once in a try."""
        task = first.chosen.task
        if first not in self._stories[task].live:
            return
        chosen = self._second(now, first.chosen)
        if chosen is None:
            self._at(now + LOOK_S, partial(self._look, first))
            return
        self._budget.spend()
        in_flight = self.agents[chosen.agent].in_flight
        self._hedger.placed_beside(now, self._world.tasks[task], chosen.agent, in_flight, chosen)
        self._stories[task].hedged += 1
        self._give(now, chosen)

    def _second(self, now: float, first: Placement) -> Placement | None:
        if self._waiting or not self._budget.has_one(self._assignments, SHARE):
            return None
        idle = {
            number: agent
            for number, agent in enumerate(self.agents)
            if number != first.agent and agent.is_there and agent.in_flight < agent.slots
        }
        if not idle:
            return None
        return self._hedger.choose_beside(now, first, self._world.tasks[first.task], idle)

    def _report(self, now: float, attempt: SimAttempt, outcome: Outcome, service_s: float) -> None:
        if outcome.succeeds:
            self._cancel_others(now, attempt)
        super()._report(now, attempt, outcome, service_s)

    def _cancel_others(self, now: float, winner: SimAttempt) -> None:
        story = self._stories[winner.chosen.task]
        for loser in [attempt for attempt in story.live if attempt is not winner]:
            loser.is_gone = True
            story.live.remove(loser)
            story.cancelled_s += now - loser.began_at
            self._release(now, loser)


def simulation_of(world: World, policy: Policy) -> Simulation:
    """The simulation that a policy needs: only one that hedges meets second attempts."""
    return (
        HedgingSimulation(world, policy) if isinstance(policy, HedgedOutrider) else Simulation(world, policy)
    )
