"""Limits in the core, by hand: which buckets a task falls into, windows, tokens, refusals, keepers."""

from __future__ import annotations

import pytest

from outrider.broker.errors import InvalidLimit, InvalidName
from outrider.broker.facts import TaskFacts
from outrider.broker.limits import Limit
from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed, Succeeded, Usage
from outrider.broker.states import ErrorClass
from outrider.ledger.fold import Record
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.limit_book import LimitBook
from outrider.orchestrator.spending import CELLS, Window
from tests.unit.orchestrator.drive import Drive


def names(book: LimitBook, kind: str, key: str | None) -> list[tuple[str, str, str]]:
    return [bucket.name for bucket in book.places(kind, key)]


def test_a_task_falls_under_its_kind_and_its_key_and_the_nearest_pattern() -> None:
    book = LimitBook()
    for kind, key in (("*", ""), ("chat", ""), ("*", "*"), ("*", "ac*"), ("chat", "acme"), ("other", "acme")):
        book.set(Limit(kind, key, concurrency=1))
    assert names(book, "chat", "acme") == [
        ("*", "", ""),
        ("*", "ac*", "acme"),
        ("chat", "", ""),
        ("chat", "acme", "acme"),
    ]
    assert names(book, "echo", "beta") == [("*", "", ""), ("*", "*", "beta")]
    assert names(book, "chat", None) == [("*", "", ""), ("chat", "", "")]


def test_each_key_of_a_pattern_has_the_limit_for_itself() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", "*", concurrency=1)))
    d.join(slots=9)
    for task_id, key in (("t1", "a"), ("t2", "b"), ("t3", "a"), ("t4", None)):
        d.pull(task_id, limit_key=key)
        if d.core.memory.round is not None:
            d.route_by_rule()
    assert [w.task_id for w in d.all(do.Write)] == ["t1", "t2", "t4"]


@pytest.mark.parametrize("period_s", [0.5, 1.0, 60.0])
def test_a_window_never_forgets_too_early_and_not_much_too_late(period_s: float) -> None:
    window = Window(period_s)
    for n in range(200):
        window.spend(100.0 + n * period_s / 100, 1.0)
    last = 100.0 + 199 * period_s / 100
    assert 99 <= window.spent(last) <= 100 * (1 + 2 / CELLS) + 1
    assert window.spent(last + period_s * 0.999) >= 1
    assert window.spent(last + period_s * (1 + 1 / CELLS) + 1e-6) == 0


def test_what_is_corrected_counts_at_once_and_never_below_nothing() -> None:
    window = Window(60.0)
    window.spend(10.0, 500.0)
    window.correct(10.0, -200.0)
    assert window.spent(11.0) == 300.0
    window.correct(10.0, -900.0)
    assert window.spent(11.0) == 0.0
    window.correct(10.0, 40.0)
    assert window.spent(11.0) == 40.0


def test_a_freed_slot_is_taken_in_the_same_moment_by_the_best_that_waits() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", concurrency=1)))
    d.join(slots=5)
    epoch = d.run("t1")
    d.pull("late", priority=6)
    d.pull("first", priority=2)
    assert not [r for r in d.all(do.Route) if {t.task_id for t in r.request.tasks} & {"late", "first"}]
    d.record(Succeeded("t1", 1, "a", epoch), "a")
    assert [task.task_id for task in d.last(do.Route).request.tasks] == ["first"]


def test_those_beyond_the_parked_go_back_to_the_queue_worst_first() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", concurrency=1)))
    d.join(slots=5)
    d.run("t1")
    for n in range(16):
        d.pull(f"low{n}", priority=7, submitted=d.now + n)
    d.pull("urgent", priority=0)
    assert not d.all(do.GiveBack), "the first of a priority has a place of its own"
    d.pull("urgent2", priority=0)
    assert [back.task_id for back in d.all(do.GiveBack)] == ["low15"]
    assert "urgent2" in d.core.memory.tasks
    assert d.core.window("echo", 7) == 0
    assert d.core.window("echo", 3) == 1, "what is more urgent than all that wait is looked for"


def test_a_refused_attempt_gives_back_its_start() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", rate=1, per_s=3600.0)))
    d.join(slots=5)
    d.pull("t1")
    d.route_by_rule()
    epoch = d.store()
    d.feed(events.AssignAnswered("t1", epoch, False, "full"))
    d.store()
    d.wait(1.0)
    d.route_by_rule()
    assert d.assigned_to() == "a"


def test_tokens_are_settled_with_what_was_used() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", tokens_per_minute=1000)))
    d.join(slots=5)
    facts = TaskFacts(prompt_chars=400, max_tokens=500)
    epoch = d.run("t1", facts=facts)
    d.pull("t2", facts=facts)
    assert not d.core.memory.round
    d.record(Succeeded("t1", 1, "a", epoch, usage=Usage(100, 250)), "a")
    assert [task.task_id for task in d.last(do.Route).request.tasks] == ["t2"]


def test_a_task_larger_than_the_whole_budget_runs_alone() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", tokens_per_minute=10)))
    d.join(slots=5)
    epoch = d.run("t1", facts=TaskFacts(prompt_chars=4000))
    d.pull("t2")
    d.wait(30.0)
    d.beat("a", epoch)
    assert "t2" not in {w.task_id for w in d.all(do.Write)}
    d.wait(35.0)
    assert "t2" in {t.task_id for r in d.all(do.Route) for t in r.request.tasks}


def refused(task_id: str, attempt: int, epoch: int, retry_after_s: float) -> Failed:
    error = AttemptError(ErrorClass.RATE_LIMITED, "429", retryable=True, retry_after_s=retry_after_s)
    return Failed(task_id, attempt, "a", epoch, error)


def test_after_a_providers_refusal_one_task_asks_and_the_rest_follow() -> None:
    d = Drive()
    d.join(slots=5)
    epoch = d.run("t1", max_attempts=1)
    d.record(refused("t1", 1, epoch, 5.0), "a")
    for n in range(2, 5):
        d.pull(f"t{n}")
    assert not d.core.memory.round
    d.pull("other", limit_key="beta")
    assert [task.task_id for task in d.last(do.Route).request.tasks] == ["other"]
    d.route_by_rule()
    d.store()
    d.wait(5.2, step=0.05)
    asked = d.last(do.Route).request.tasks
    assert len(asked) == 1
    d.route_by_rule()
    d.wait(1.0, step=0.05)
    assert not d.core.memory.round, "nobody else before the one that asks is through"
    epoch = d.store()
    d.record(Succeeded(asked[0].task_id, d.last(do.Assign).attempt, "a", epoch), "a")
    assert len(d.last(do.Route).request.tasks) == 3


def test_a_refusal_read_from_the_ledger_holds_back_only_as_long_as_was_asked() -> None:
    d = Drive()
    d.join(slots=5)
    epoch = d.run("t1")
    d.now += 100.0
    d.seq += 1
    record = refused("t1", 1, epoch, 5.0)
    d.now -= 100.0
    d.record(record, "a")
    held = d.core.stats().limits
    assert held is not None
    assert held[0].held_s == pytest.approx(5.0)


def test_a_start_counts_from_now_however_wrong_the_wall_clock_is() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", rate=1, per_s=10.0)))
    d.join(slots=5)
    d.pull("t1")
    d.route_by_rule()
    ours = Record(1, "t.ledger.t1.orchestrator.me", d.last(do.Write).entry)
    d.feed(events.EntryStored(ours, d.now - 86_400.0))
    d.pull("t2")
    assert not d.core.memory.round
    d.wait(10.5, step=0.05)
    assert [task.task_id for task in d.last(do.Route).request.tasks] == ["t2"]


def test_what_a_new_budget_has_not_counted_is_not_taken_from_it() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", concurrency=9), 1))
    d.join(slots=5)
    old = d.run("old", facts=TaskFacts(max_tokens=900))
    d.feed(events.LimitSet(Limit("echo", tokens_per_minute=150), 2))
    d.run("t1", facts=TaskFacts(max_tokens=100))
    d.record(Succeeded("old", 1, "a", old, usage=Usage(0, 10)), "a")
    d.pull("t2", facts=TaskFacts(max_tokens=100))
    assert not d.core.memory.round
    listed = d.core.stats().limits
    assert listed is not None
    assert listed[0].tokens == 100


def test_only_the_keeper_takes_new_room_at_once_and_another_a_moment_later() -> None:
    at_once = 0
    for n in range(30):
        d = Drive()
        d.feed(events.LimitSet(Limit("echo", f"key{n}", concurrency=1)))
        d.join(slots=5)
        epoch = d.run("t1", limit_key=f"key{n}")
        d.pull("t2", limit_key=f"key{n}")
        d.feed(events.PulseHeard("another", stopping=False))
        d.record(Succeeded("t1", 1, "a", epoch), "a")
        at_once += d.core.memory.round is not None
        d.wait(0.4, step=0.05)
        assert d.core.memory.round is not None
    assert 5 < at_once < 25


def test_limits_cost_nothing_where_there_are_none_and_idle_keys_are_forgotten() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("*", "*", concurrency=3)))
    d.join(slots=5)
    for n in range(50):
        epoch = d.run(f"t{n}", limit_key=f"tenant-{n}")
        d.record(Succeeded(f"t{n}", 1, "a", epoch), "a")
    d.wait(2.0)
    book = d.core.memory.limits
    assert (book.buckets, book.holding) == ({}, {})
    d.feed(events.LimitSet(Limit("*", "*")))
    assert not book.is_used


@pytest.mark.parametrize(
    "limit",
    [
        Limit("a.b", concurrency=1),
        Limit("*", "x y", concurrency=1),
        Limit("*", "**", concurrency=1),
        Limit("*", "*a", concurrency=1),
    ],
)
def test_names_are_checked(limit: Limit) -> None:
    with pytest.raises(InvalidName):
        limit.check()


@pytest.mark.parametrize("field", ["concurrency", "rate", "tokens_per_minute", "per_s"])
def test_numbers_are_checked(field: str) -> None:
    with pytest.raises(InvalidLimit):
        Limit("*", "", **{field: 0}).check()


def test_one_in_a_few_of_those_who_wait_for_a_limit_goes_by_its_age() -> None:
    d = Drive(Thresholds(ageing_s=10.0, ageing_every=3))
    d.feed(events.LimitSet(Limit("echo", concurrency=1)))
    d.join(slots=5)
    running, epoch = "begun", d.run("begun")
    d.pull("old", priority=9)
    d.now += 200
    for n in range(4):
        d.pull(f"urgent{n}", priority=0, submitted=d.now + n)
    started = []
    for _ in range(5):
        d.record(Succeeded(running, 1, "a", epoch), "a")
        running = d.last(do.Route).request.tasks[0].task_id
        d.route_by_rule()
        epoch = d.store()
        d.accept(running, epoch)
        started.append(running)
    assert started == ["urgent0", "urgent1", "old", "urgent2", "urgent3"]


def test_who_goes_by_its_age_is_not_overtaken_by_what_has_just_come() -> None:
    d = Drive(Thresholds(ageing_s=10.0, ageing_every=1))
    d.feed(events.LimitSet(Limit("echo", concurrency=1)))
    d.join(slots=5)
    epoch = d.run("begun")
    d.pull("old", priority=9)
    d.now += 200
    d.feed(events.LinkChanged(False))
    d.pull("new", priority=0)
    d.record(Succeeded("begun", 1, "a", epoch), "a")
    d.feed(events.LinkChanged(True))
    assert [task.task_id for task in d.last(do.Route).request.tasks] == ["old"]


def test_the_first_of_each_priority_waits_here_however_many_are_more_urgent() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", concurrency=1)))
    d.join(slots=5)
    d.run("t1")
    for n in range(16):
        d.pull(f"urgent{n}", priority=0, submitted=d.now + n)
    assert d.core.window("echo", 9) == 1, "one that is less urgent is looked for, to grow old here"
    d.pull("low", priority=9)
    assert d.core.window("echo", 9) == 0
    d.pull("low2", priority=9)
    for n in range(16, 20):
        d.pull(f"urgent{n}", priority=0, submitted=d.now + n)
    assert [back.task_id for back in d.all(do.GiveBack)] == ["low2", *(f"urgent{n}" for n in range(16, 20))]
    assert "low" in d.core.memory.tasks


def test_of_one_priority_those_who_were_submitted_first_wait_here() -> None:
    d = Drive()
    d.feed(events.LimitSet(Limit("echo", concurrency=1)))
    d.join(slots=5)
    d.run("t1")
    for n in range(16):
        d.pull(f"later{n}", submitted=d.now + n)
    d.now += 100
    d.pull("earlier", submitted=d.now - 100.5, deliveries=7)
    assert [back.task_id for back in d.all(do.GiveBack)] == ["later15"]
    assert "earlier" in d.core.memory.tasks
