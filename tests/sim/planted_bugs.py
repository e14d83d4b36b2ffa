"""Deliberate defects, switched on one at a time, that the simulator must notice.

Each patches the core, or the twin of the shell, while its context lasts. The last few are bugs that the
simulator itself found in the product, put back.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from outrider.broker.messages import Settled, Verdict
from outrider.broker.outcomes import Failed
from outrider.ledger import fold
from outrider.ledger.fold import Story
from outrider.orchestrator import (
    aftermath,
    attempts,
    core,
    dispatch,
    events,
    health,
    holding,
    instructions,
)
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.ready_queue import ReadyQueue
from outrider.orchestrator.transitions import TaskPhase
from tests.sim import sim_requests
from tests.sim.fake_jetstream import PubAnswer
from tests.sim.fake_server import SUBJECTS
from tests.sim.loop import SimClock
from tests.sim.planting import Swap, bug, nothing
from tests.sim.sim_effects import UNKNOWN, SimEffects
from tests.sim.sim_feed import SimFeed

# The order of things: the ledger first, then everybody else


@bug
def ack_before_record() -> list[Swap]:
    real = dispatch.assign

    def assign(m: Memory, task: TaskRecord, *rest: Any) -> None:
        real(m, task, *rest)
        if task.is_in_queue:
            m.out.insert(len(m.out) - 1, instructions.AckTask(task.task_id))

    return [(dispatch, "assign", assign)]


@bug
def told_before_recorded() -> list[Swap]:
    real = dispatch.assign

    def assign(m: Memory, task: TaskRecord, *rest: Any) -> None:
        real(m, task, *rest)
        story, agent_id = task.story, rest[0].agent_id
        guess = story.expect + 1
        m.out.append(
            instructions.Assign(task.task_id, agent_id, story.attempt + 1, guess, guess, story.envelope_seq)
        )

    return [(dispatch, "assign", assign)]


@bug
def held_and_forgotten() -> list[Swap]:
    return [(holding, "make_ready", nothing)]


@bug
def no_epoch_check() -> list[Swap]:
    real: Callable[..., str | None] = vars(fold)["refusal"]

    def refusal(phase: Any, epoch: int, *rest: Any, **named: Any) -> str | None:
        return real(phase, rest[-1].epoch, *rest, **named)

    return [(fold, "refusal", refusal)]


@bug
def no_expectation() -> list[Swap]:
    def write(self: SimEffects, i: instructions.Write) -> None:
        def receipt(answer: PubAnswer) -> None:
            if answer.seq:
                self._post(events.Written(i.task_id, i.number, answer.seq))
            else:
                self._post(events.WriteFailed(i.task_id, i.number, answer is not UNKNOWN, "no"))

        subject = SUBJECTS.ledger_orchestrator(i.task_id, self._me)
        self.appender.send(subject, self._complete(i.entry, i.expect), receipt)

    return [(SimEffects, "write", write)]


@bug
def blind_retry_after_unknown_outcome() -> list[Swap]:
    def write(self: SimEffects, i: instructions.Write) -> None:
        subject, body = SUBJECTS.ledger_orchestrator(i.task_id, self._me), self._complete(i.entry, i.expect)

        def receipt(answer: PubAnswer) -> None:
            if answer.seq:
                self._post(events.Written(i.task_id, i.number, answer.seq))
            elif answer is UNKNOWN:
                self.appender.send(subject, body, receipt)
            else:
                self._post(events.WriteFailed(i.task_id, i.number, True, "no"))

        self.appender.send(subject, body, receipt, i.expect, SUBJECTS.story(i.task_id))

    return [(SimEffects, "write", write)]


@bug
def redelivery_not_acked() -> list[Swap]:
    real = core._pulled

    def pulled(m: Memory, event: events.TaskPulled) -> None:
        if event.task_id not in m.tasks:
            real(m, event)

    return [(core, "_pulled", pulled)]


@bug
def terminal_entry_not_acked() -> list[Swap]:
    real = attempts.leave_queue

    def leave_queue(m: Memory, task: TaskRecord) -> None:
        if task.is_in_queue and task.story.is_terminal:
            task.is_in_queue = False
            m.held[task.kind, task.priority] -= 1
        else:
            real(m, task)

    return [(attempts, "leave_queue", leave_queue)]


# Time


@bug
def wall_clock() -> list[Swap]:
    return [(SimClock, "now", SimClock.wall)]


@bug
def deadline_ignored() -> list[Swap]:
    return [(attempts, "expire_if_late", lambda m, task: False)]


@bug
def endless_lease() -> list[Swap]:
    real = attempts.start_lease

    def start_lease(m: Memory, task: TaskRecord) -> None:
        real(m, task)
        task.last_end = task.lease_until = m.now + 1e9

    return [(attempts, "start_lease", start_lease)]


@bug
def random_jitter() -> list[Swap]:
    random = Random(1)

    def backoff_s(_: str, attempt: int, first_s: float, cap_s: float, asked: float | None = None) -> float:
        return asked if asked is not None else random.random() * min(cap_s, first_s * 2.0 ** (attempt - 1))

    return [(aftermath, "backoff_s", backoff_s)]


@bug
def retry_after_ignored() -> list[Swap]:
    real: Any = vars(aftermath)["backoff_s"]
    return [(aftermath, "backoff_s", lambda *args: real(*args[:4]))]


# Budgets


@bug
def retry_without_budget() -> list[Swap]:
    real = attempts.plan_next

    def plan_next(m: Memory, task: TaskRecord) -> None:
        budget, task.max_attempts = task.max_attempts, 1_000_000
        real(m, task)
        task.max_attempts = budget

    return [(attempts, "plan_next", plan_next)]


@bug
def retries_the_hopeless() -> list[Swap]:
    real = attempts.plan_next

    def plan_next(m: Memory, task: TaskRecord) -> None:
        last = task.story.last
        if isinstance(last, Failed) and not last.error.retryable:
            task.retry_at = m.now + 1.0
            attempts.set_timer(m, task)
        else:
            real(m, task)

    return [(attempts, "plan_next", plan_next)]


@bug
def never_gives_up() -> list[Swap]:
    real = attempts.plan_next

    def plan_next(m: Memory, task: TaskRecord) -> None:
        story = task.story
        count, story.uncharged_in_a_row = story.uncharged_in_a_row, min(4, story.uncharged_in_a_row)
        real(m, task)
        story.uncharged_in_a_row = count

    return [(attempts, "plan_next", plan_next)]


@bug
def charges_what_never_started() -> list[Swap]:
    real = attempts.end_attempt

    def end_attempt(*args: Any, charged: bool, **named: Any) -> None:
        real(*args, charged=charged or bool(args[3]), **named)

    return [(attempts, "end_attempt", end_attempt), (health, "end_attempt", end_attempt)]


@bug
def slot_leaks_on_reject() -> list[Swap]:
    real = attempts.attempt_ended

    def attempt_ended(m: Memory, task: TaskRecord, entry: Any) -> None:
        real(m, task, entry)
        if entry.type == "rejected":
            m.agents.occupy(entry.agent_id, task.task_id)

    return [(attempts, "attempt_ended", attempt_ended)]


# Who decides, and what is forgotten


@bug
def takeover_without_silence() -> list[Swap]:
    return [(Memory, "is_mine", lambda self, task: True)]


@bug
def nobody_takes_over() -> list[Swap]:
    return [(Memory, "is_mine", lambda self, task: task.story.owner in ("", self.me))]


@bug
def cancel_lost() -> list[Swap]:
    return [(core, "_cancel_requested", nothing)]


@bug
def lost_agents_tasks_kept() -> list[Swap]:
    return [(health, "lose_all", nothing)]


@bug
def blames_after_its_own_stall() -> list[Swap]:
    real = health.check

    def check(m: Memory) -> None:
        m.ticked_at = m.now
        real(m)

    return [(health, "check", check)]


@bug
def router_silence_drops_the_round() -> list[Swap]:
    def route_failed(m: Memory, number: int, _: Any) -> None:
        asked = dispatch._finish_round(m, number)
        for task_id in asked.tasks if asked is not None else ():
            task = m.tasks.get(task_id)
            if task is not None and task.phase is TaskPhase.ROUTING:
                task.phase = TaskPhase.HELD

    return [(dispatch, "route_failed", route_failed)]


@bug
def assignment_never_sent_again() -> list[Swap]:
    real, sent = attempts.send_assignment, set[tuple[int, int]]()

    def send_assignment(m: Memory, task: TaskRecord) -> None:
        real(m, task)
        key = (id(m), task.story.epoch)
        if key in sent:
            m.out = [i for i in m.out if not isinstance(i, instructions.Assign)]
        sent.add(key)

    return [(attempts, "send_assignment", send_assignment)]


@bug
def priority_inverted() -> list[Swap]:
    real = ReadyQueue.push
    push = lambda self, kind, priority, *rest: real(self, kind, -priority, *rest)  # noqa: E731
    return [(ReadyQueue, "push", push)]


@bug
def settle_always_says_resend() -> list[Swap]:
    def settle(story: Story, *_: Any) -> Settled:
        return Settled(Verdict.RESEND, story.epoch, story.expect)

    return [(sim_requests, "settle", settle)]


# Bugs that the simulator found, put back


@bug
def inherited_lease_forgotten() -> list[Swap]:
    real = attempts.take_charge

    def take_charge(m: Memory, task: TaskRecord) -> None:
        real(m, task)
        if task.phase is TaskPhase.RUNNING:
            m.timers.clear(task.task_id)

    return [(attempts, "take_charge", take_charge), (health, "take_charge", take_charge)]


@bug
def feed_passes_over_others() -> list[Swap]:
    def stir(self: SimFeed) -> None:
        if self._is_narrow:
            self._is_narrow = False
            self.start()

    return [(SimFeed, "_stir", stir)]


@bug
def unknown_agents_stay_unknown() -> list[Swap]:
    return [(health, "_is_unmet", lambda m, event: False)]
