"""Deliberate defects in limits that the simulator must notice."""

from __future__ import annotations

from typing import Any

from outrider.orchestrator import admission, attempts, limited
from outrider.orchestrator.limit_book import LimitBook
from outrider.orchestrator.limit_bucket import Bucket
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.spending import Window
from tests.sim.planting import Swap, bug, nothing
from tests.sim.sim_limits import SimLimits


@bug
def limit_slot_leaks_when_an_attempt_is_lost() -> list[Swap]:
    real = attempts.attempt_ended

    def attempt_ended(m: Memory, task: TaskRecord, entry: Any) -> None:
        buckets = m.limits.holding.get(task.task_id, ())
        real(m, task, entry)
        for bucket in buckets if entry.type == "lost" else ():
            bucket.hold(task.task_id, 0.0, has_begun=True)

    return [(attempts, "attempt_ended", attempt_ended)]


@bug
def limits_forgotten_at_restart() -> list[Swap]:
    def begin(self: SimLimits, on_caught_up: Any) -> None:
        self._last_seq = self._server.limits.last_seq
        self._on_caught_up = on_caught_up
        self._follow()

    return [(SimLimits, "begin", begin)]


@bug
def tasks_of_one_round_not_counted() -> list[Swap]:
    return [(LimitBook, "pick", nothing)]


@bug
def slots_not_counted_after_a_restart() -> list[Swap]:
    real = limited.hold

    def hold(m: Memory, task: TaskRecord) -> None:
        if m.is_recovered:
            real(m, task)

    return [(limited, "hold", hold)]


@bug
def rate_begins_anew_with_each_period() -> list[Swap]:
    real = Window.spent

    def spent(self: Window, now: float) -> float:
        return real(self, now) if now % self.period_s > self.period_s / 4 else 0.0

    return [(Window, "spent", spent)]


@bug
def refused_attempts_pay_for_others() -> list[Swap]:
    def never_began(self: Bucket, task_id: str) -> None:
        if self.starts is not None:
            self.starts = Window(self.starts.period_s)

    return [(Bucket, "never_began", never_began)]


@bug
def tokens_not_reserved() -> list[Swap]:
    return [(LimitBook, "tokens_of", lambda self, kind, facts: 0.0)]


@bug
def limits_of_keys_not_looked_up() -> list[Swap]:
    return [(LimitBook, "_limit_of_key", lambda self, kind, key: None)]


@bug
def provider_asked_again_at_once() -> list[Swap]:
    return [(limited, "_hold_back", nothing)]


@bug
def those_who_wait_for_a_limit_do_not_age() -> list[Swap]:
    return [(admission, "_age_key", lambda m, place: place[0])]
