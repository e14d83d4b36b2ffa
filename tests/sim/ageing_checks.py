"""What must hold of those who wait for a limit: who has waited the longest for its priority gets its turn.

Counted from what cores ask the router about, not from the product's own turns.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from outrider.broker.limits import Limit
from outrider.broker.messages import TaskEnvelope
from outrider.orchestrator import instructions
from outrider.orchestrator.model import Memory, TaskRecord
from tests.sim.checks import LedgerChecks
from tests.sim.fake_client import Order
from tests.sim.fake_limiter import LimitChange
from tests.sim.loop import EPOCH
from tests.sim.scenario import QUICK, Scenario
from tests.sim.sim_shell import SimShell

TURNS = 3
"""So many turns by age may pass one by, for trouble with the round that it was in."""
CROWD = 40


def crowd(random: Random, scenario: Scenario) -> Scenario:
    """Now and then more urgent tasks than can be done, and two others, under one narrow limit."""
    if random.random() >= 0.05 or scenario.stalls or scenario.weather.deaf:
        return scenario
    limit = LimitChange(0.0, Limit("chat", concurrency=1))
    for number in range(CROWD):
        priority = 5 if number in (3, 4) else 0
        submit_at = random.uniform(0.5, 1.5) if number < 10 else random.uniform(1.0, 16.0)
        envelope = TaskEnvelope("chat", None, f"c-{number}", priority, submitted_at=EPOCH + submit_at)
        scenario.orders.append(Order(envelope, submit_at))
    for profile in scenario.profiles:
        profile.temper.longest_s = 0.8
    return replace(scenario, thresholds=QUICK, changes=[limit])


class AgeingChecks:
    """Sees every round of every core."""

    def __init__(self, ledger: LedgerChecks) -> None:
        self._ledger = ledger
        self._passed: Counter[tuple[str, str]] = Counter()

    def handled(self, shell: SimShell, done: list[instructions.Instruction]) -> None:
        memory = shell.core.memory
        if not memory.limits.is_used:
            return
        for instruction in done:
            if isinstance(instruction, instructions.Route):
                for asked in instruction.request.tasks:
                    self._goes_first(shell.orchestrator_id, memory, memory.tasks[asked.task_id])

    def _goes_first(self, who: str, memory: Memory, task: TaskRecord) -> None:
        """Whoever waits for the same limits, and is older for its priority, is passed over once more."""
        self._passed.pop((who, task.task_id), None)
        most = TURNS * memory.thresholds.ageing_every
        for bucket in memory.limits.places(task.kind, task.limit_key):
            waiting = [memory.tasks[p[2]] for p in bucket.parked if p[2] in memory.tasks]
            waiting = [w for w in waiting if w.parked_at is not None]
            eldest = min(waiting, key=lambda w: _age_key(memory, w), default=None)
            if eldest is not None and _age_key(memory, eldest) < _age_key(memory, task):
                self._passed[who, eldest.task_id] += 1
                passed = self._passed[who, eldest.task_id]
                self._ledger.must(passed <= most, "nobody starves who waits for a limit", (passed, eldest))


def _age_key(memory: Memory, task: TaskRecord) -> float:
    return task.priority * memory.thresholds.ageing_s + task.ready_at
