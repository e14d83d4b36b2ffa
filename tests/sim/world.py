"""One run: a seed becomes a world, the world breaks and mends, and the checks say what was wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from outrider.orchestrator import events, instructions
from tests.sim.ageing_checks import AgeingChecks, crowd
from tests.sim.asker_checks import AskerChecks
from tests.sim.checks import LedgerChecks
from tests.sim.core_checks import CoreChecks
from tests.sim.fake_agents import FakeAgent
from tests.sim.fake_asker import FakeAsker, draw_wishes
from tests.sim.fake_client import FakeClient
from tests.sim.fake_jetstream import Message
from tests.sim.fake_later import FakeLater, draw_schedules
from tests.sim.fake_limiter import FakeLimiter
from tests.sim.fake_operator import FakeOperator
from tests.sim.fake_router import FakeRouter
from tests.sim.fake_server import FakeServer
from tests.sim.faults import Faults
from tests.sim.handler_log import HandlerLog
from tests.sim.large_checks import LargeChecks, enlarge
from tests.sim.limit_checks import LimitChecks
from tests.sim.loop import Loop
from tests.sim.operator_checks import OperatorChecks
from tests.sim.scenario import KINDS, Scenario, calm, draw
from tests.sim.sim_shell import ShellWatch, SimShell

TERMINAL_WITHIN_S = 120.0
CLEAN_S = 10.0
"""How long the last acks and reports are given once every task is terminal."""
CLEAN_WITHIN_S = 30.0
"""How long a task that was sent twice may stay in the queue; a lost pull request costs 12.5 s alone."""
MOST_VIOLATIONS = 5


@dataclass(slots=True)
class Report:
    """What became of one seed."""

    seed: int
    violations: list[str]
    tasks: int
    faults: int
    steps: int
    virtual_s: float
    healed_s: float
    """From the last fault to the last terminal entry."""
    outcomes: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)


class World:
    """Everything that lives in one run."""

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        self.seed = seed
        self.scenario: Scenario = calm(Random(f"calm {seed}"), draw(Random(f"scenario {seed}")))
        self.scenario = crowd(Random(f"crowd {seed}"), self.scenario)
        self.loop = Loop(seed, is_traced=is_traced)
        self.server = FakeServer(self.loop, self.scenario.weather)
        self.server.renew_trouble = self.scenario.renew_trouble
        self.log = HandlerLog()
        orders = self.scenario.orders
        large = Random(f"large {seed}")
        self.has_large = large.random() < 0.3
        if self.has_large:
            enlarge(large, orders)
        self.ledger_checks = LedgerChecks(
            self.scenario, self.server, {o.task_id: o for o in orders}, self.log
        )
        self.core_checks = CoreChecks(self.scenario, self.server, self.ledger_checks)
        self.operator_checks = OperatorChecks(self.server, self.ledger_checks, self.ledger_checks.orders)
        self.limit_checks = LimitChecks(self.scenario, self.server, self.ledger_checks)
        self.large_checks = LargeChecks(self.server, self.ledger_checks, large, self.scenario)
        self.log.on_got = self.large_checks.got
        self.ageing_checks = AgeingChecks(self.ledger_checks)
        self.core_checks.on_fresh = self.operator_checks.check_index
        self.server.watchers.stored = self._stored
        self.server.watchers.removed = self.ledger_checks.removed
        self.log.on_told = self.ledger_checks.told
        watch = ShellWatch(self._handled)
        limits, count = self.scenario.thresholds, self.scenario.orchestrators
        self.shells = [SimShell(self.server, f"o{n}", limits, watch) for n in range(count)]
        self.limit_checks.shells = self.shells
        self.agents = [FakeAgent(self.server, profile, self.log) for profile in self.scenario.profiles]
        self.ledger_checks.agents.update({agent.agent_id: agent for agent in self.agents})
        self.router = FakeRouter(self.server)
        self.router.predicts = self.scenario.predicts
        self.client = FakeClient(self.server, orders)
        checks = self.operator_checks
        self.operator = FakeOperator(self.server, KINDS, checks.dead, checks.requeued)
        self.later = self._schedules(Random(f"schedules {seed}"))
        self.asker = self._asker(Random(f"wishes {seed}"))
        self.asker_checks = AskerChecks(self.server, self.ledger_checks, self.asker)
        self.later.expects_more = lambda: not self.asker_checks.is_over
        self.limiter = FakeLimiter(self.server, self.scenario.changes)
        self.faults = Faults(self.scenario, self.server, self.shells, self.agents, self.router, self.client)

    def run(self) -> Report:
        """Start, break, mend, wait, and check."""
        self._start()
        until = self.scenario.faults_until_s
        self.loop.at(until / 2, self.core_checks.compare_with_fresh)
        self.loop.run(until, self._is_hopeless)
        self.core_checks.compare_with_fresh()
        self.faults.mend()
        self.operator.calm_down()
        self.limiter.calm_down()
        self.asker.calm_down()
        self.ledger_checks.calm_since = self.loop.now
        healed_s = self._wait_for_the_end()
        if not self.ledger_checks.violations:
            self._check_the_end()
        return Report(
            self.seed,
            self.ledger_checks.violations[:MOST_VIOLATIONS],
            len(self.scenario.orders),
            self.faults.count,
            self.loop.steps,
            self.loop.now,
            healed_s,
            self.ledger_checks.outcomes(),
            self.loop.lines,
        )

    def _schedules(self, random: Random) -> FakeLater:
        """In a third of the worlds there are some."""
        has_some = random.random() < 0.35
        until_s = self.scenario.faults_until_s
        schedules = draw_schedules(random, KINDS, until_s) if has_some else []
        later = FakeLater(self.server, self.ledger_checks, schedules)
        if schedules:
            self.server.later = later.pulled
        return later

    def _asker(self, random: Random) -> FakeAsker:
        """In a third of the worlds whose clocks are right: when to run is told by the wall clock."""
        is_there = random.random() < 0.35 and not self.scenario.is_skewed
        wishes = draw_wishes(random, KINDS, self.scenario.faults_until_s) if is_there else []
        if wishes:
            self.server.later = self.later.pulled
        return FakeAsker(self.server, wishes)

    def _stored(self, message: Message) -> None:
        self.asker_checks.stored(message)
        self.later.stored(message)
        self.operator_checks.stored(message)
        self.ledger_checks.stored(message)
        self.limit_checks.stored(message)
        if self.has_large:
            self.large_checks.stored(message)

    def _handled(self, shell: SimShell, event: events.Event, done: list[instructions.Instruction]) -> None:
        self.core_checks.handled(shell, event, done)
        self.operator_checks.handled(shell, event, done)
        self.limit_checks.handled(shell, event, done)
        self.ageing_checks.handled(shell, done)

    def _start(self) -> None:
        self.loop.trace("scenario", self.scenario)
        self.shells[0].start()
        for shell in self.shells[1:]:
            self._start_later(shell)
        for agent in self.agents:
            agent.start()
        if not self.loop.chance(0.2):
            self.router.start()
        self.client.start()
        if self.scenario.has_operator:
            self.operator.start()
        if self.scenario.changes:
            self.limiter.start()
        self.later.start()
        if self.has_large:
            self.large_checks.start(self.scenario.faults_until_s)
        if self.asker.wishes:
            self.asker.start()
        self.faults.plan()
        self._all_know_all()

    def _start_later(self, shell: SimShell) -> None:
        """Beside the first one, or while that one is cut off and hears nothing of it."""
        when = self.loop.random.uniform(0.0, 10.0)
        if self.scenario.starts_apart:
            self.loop.after(when, lambda: self.shells[0].link.partition(8.0))
            when += self.loop.random.uniform(1.0, 3.0)
        self.loop.after(when, lambda: self.faults.revive(shell))

    def _is_hopeless(self) -> bool:
        return len(self.ledger_checks.violations) >= MOST_VIOLATIONS

    def _all_know_all(self) -> None:
        self.loop.after(2.0, self._all_know_all)
        for shell in self.shells:
            self.core_checks.knows_all(shell)

    def _wait_for_the_end(self) -> float:
        """Virtual seconds until all accepted tasks are terminal; a violation when that takes too long."""
        mended_at = self.loop.now
        while self.loop.now < mended_at + TERMINAL_WITHIN_S and not self._is_hopeless():
            self.loop.run(self.loop.now + 0.5, self._is_hopeless)
            if self._is_done():
                break
        healed_s = self.loop.now - mended_at
        for task_id in self.ledger_checks.unfinished():
            case = self.ledger_checks.case(task_id)
            self.ledger_checks.broken("terminal within 120 s after the faults", case)
        return healed_s

    def _is_done(self) -> bool:
        orders = self.client.orders.values()
        is_sent = all(order.accepted_at is not None or order.is_given_up for order in orders)
        return (
            is_sent
            and self.later.is_over
            and self.asker_checks.is_over
            and self.operator.is_content
            and not self.ledger_checks.unfinished()
        )

    def _check_the_end(self) -> None:
        ended_at = self.loop.now
        self.loop.run(ended_at + CLEAN_S, self._is_hopeless)
        while self.server.tasks.messages and self.loop.now < ended_at + CLEAN_WITHIN_S:
            self.loop.run(self.loop.now + 1.0, self._is_hopeless)
        self.core_checks.compare_with_fresh()
        self.later.check_end()
        self.asker_checks.check_end()
        checks = self.ledger_checks
        for shell in self.shells:
            self.core_checks.is_empty(shell)
            self.operator_checks.check_index(shell.core, shell.orchestrator_id)
        for agent in self.agents:
            if agent.is_alive and not agent.is_frozen:
                checks.check_leftovers(agent)
        for order in self.client.orders.values():
            checks.check_cancel(order)


def simulate(seed: int, *, is_traced: bool = False) -> Report:
    """Run one seed to its end; the same seed gives the same report, always."""
    return World(seed, is_traced=is_traced).run()
