"""The core under limits: whatever crashes or is lost, no slot leaks and none is exceeded.

The same machine as test_core_machine.py, with keys, four limits, and a queue that takes tasks back.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from outrider.broker.facts import TaskFacts
from outrider.broker.limits import Limit
from outrider.ledger.entries import Assigned
from outrider.orchestrator import events
from outrider.orchestrator.core import Core
from tests.property.test_core_machine import KINDS, CoreMachine

KEYS = (None, "acme", "beta")
LIMITS = (
    Limit("chat", "", concurrency=2),
    Limit("*", "acme", concurrency=1),
    Limit("echo", "*", concurrency=2),
    Limit("echo", "", rate=3, per_s=10.0),
)
RATE, PER_S = 3, 10.0


class LimitsMachine(CoreMachine):
    """Random lives of tasks that four limits hold back."""

    def __init__(self) -> None:
        self.pulled: dict[str, events.TaskPulled] = {}
        self.stored_at: list[float] = []
        super().__init__()

    def boot(self) -> None:
        self.core = Core(f"o{self.crashes}")
        self.pending = []
        for limit in LIMITS:
            self.feed(events.LimitSet(limit))
        self.note_times()
        for record, at in zip(self.world.entries, self.stored_at, strict=True):
            self.feed(events.EntryStored(record, at))
        self.feed(events.Recovered())
        for task in list(self.world.queue.values()):
            self.feed(task)

    def note_times(self) -> None:
        self.stored_at += [self.now] * (len(self.world.entries) - len(self.stored_at))

    @rule(kind=st.sampled_from(KINDS), priority=st.integers(0, 9), attempts=st.integers(1, 3))
    def submit(self, kind: str, priority: int, attempts: int) -> None:
        number = len(self.submitted)
        task_id, key = f"t-{number}", KEYS[number % len(KEYS)]
        self.submitted.append(task_id)
        pulled = events.TaskPulled(
            task_id, kind, priority, TaskFacts(), (), attempts, None, None, self.now, limit_key=key
        )
        self.world.queue[task_id] = self.pulled[task_id] = pulled
        self.feed(pulled)

    @rule()
    def come_back(self) -> None:
        """What was given back is delivered again."""
        away = self.world.queue.keys() - self.core.memory.tasks.keys()
        for task_id in sorted(away):
            self.feed(self.world.queue[task_id])

    @invariant()
    def is_within_limits(self) -> None:
        """Read off the ledger alone."""
        self.note_times()
        live: Counter[str] = Counter()
        for task_id, task in self.pulled.items():
            if self.world.story(task_id).is_live:
                live[f"kind {task.kind}"] += 1
                live[f"key {task.limit_key}"] += 1
                live[f"{task.kind} {task.limit_key}"] += 1
        assert live["kind chat"] <= 2
        assert live["key acme"] <= 1
        assert live["echo beta"] <= 2

    @invariant()
    def is_within_rate(self) -> None:
        self.note_times()
        starts = [
            at
            for record, at in zip(self.world.entries, self.stored_at, strict=True)
            if isinstance(record.entry, Assigned)
            and record.entry.kind == "echo"
            and not self.is_refused(record.seq)
        ]
        for number, at in enumerate(starts):
            assert sum(at <= other < at + PER_S for other in starts[number:]) <= RATE

    def is_refused(self, epoch: int) -> bool:
        return any(r.entry.type == "rejected" and r.entry.epoch == epoch for r in self.world.entries)

    def step_calmly(self) -> None:
        super().step_calmly()
        self.come_back()

    def teardown(self) -> None:
        super().teardown()
        for _ in range(100):
            if not self.core.memory.tasks and not self.pending:
                break
            self.step_calmly()
        book = self.core.memory.limits
        assert not book.holding, "a slot leaked"
        assert not any(bucket.holders or bucket.picks for bucket in book.buckets.values())


TestLimits = LimitsMachine.TestCase
TestLimits.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
