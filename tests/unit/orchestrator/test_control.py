"""What operators decide, poison tasks, and stops that are nobody's failure, as the core sees them."""

from __future__ import annotations

import pytest

from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed
from outrider.broker.states import AgentState, ErrorClass
from outrider.ledger.control import Control
from outrider.ledger.entries import Assigned, Closed, Ended
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.letters import Letter, LetterIndex
from tests.unit.orchestrator.drive import Drive


def decide(d: Drive, type_: str, kind: str = "", **fields: int) -> None:
    d.seq += 1
    d.feed(events.ControlStored(Control(type_, kind, **fields), d.seq))  # type: ignore[arg-type]


def attempts_of(d: Drive) -> list[str]:
    return [i.entry.task_id for i in d.all(do.Write) if isinstance(i.entry, Assigned)]


def die_running(d: Drive, name: str) -> None:
    """The agent's process dies while it runs its task."""
    d.feed(events.AgentUnreachable(name))
    d.feed(events.AgentUnreachable(name))


def lose_on(d: Drive, name: str) -> None:
    die_running(d, name)
    ended = d.last(do.Write).entry
    assert isinstance(ended, Ended)
    assert (ended.type, ended.charged) == ("lost", True)
    d.store()


def test_a_paused_kind_is_not_pulled_and_not_started() -> None:
    d = Drive()
    d.join(slots=2)
    decide(d, "paused", "echo")
    assert d.core.window("echo", 5) == 0
    d.pull("t1")
    assert not d.all(do.Route)
    decide(d, "resumed", "echo")
    assert d.core.window("echo", 5) > 0
    d.choose("t1", "a")
    assert attempts_of(d) == ["t1"]


def test_a_pause_that_comes_while_the_router_thinks_holds_the_task_back() -> None:
    d = Drive()
    d.join()
    d.pull("t1")
    decide(d, "paused")
    d.choose("t1", "a")
    assert attempts_of(d) == []
    decide(d, "resumed")
    d.choose("t1", "a")
    assert attempts_of(d) == ["t1"]


def test_what_runs_goes_on_and_its_retry_waits() -> None:
    d = Drive()
    d.join()
    epoch = d.run()
    decide(d, "paused")
    d.record(Failed("t1", 1, "a", epoch, AttemptError(ErrorClass.HANDLER, "no", True)), "a")
    d.wait(5.0)
    assert attempts_of(d) == ["t1"]
    decide(d, "resumed")
    d.choose("t1", "a")
    assert attempts_of(d) == ["t1", "t1"]


def test_a_deadline_passes_during_a_pause() -> None:
    d = Drive()
    d.join()
    decide(d, "paused")
    d.pull("t1", deadline=d.now + 2.0)
    d.wait(3.0)
    assert d.last(do.Write).entry.type == "expired"


def test_two_different_agents_that_died_make_a_task_poison() -> None:
    d = Drive()
    d.join("a")
    d.join("b")
    d.pull("t1", max_attempts=10)
    d.choose("t1", "a")
    d.accept("t1", d.store())
    lose_on(d, "a")
    d.wait(0.5)
    d.choose("t1", "b")
    d.accept("t1", d.store())
    lose_on(d, "b")
    closed = d.last(do.Write).entry
    assert isinstance(closed, Closed)
    assert (closed.type, closed.error_class) == ("dead", "poison")
    assert "a, b" in closed.reason


def test_one_agent_that_died_twice_is_no_sign_of_poison() -> None:
    d = Drive()
    d.join("a")
    d.pull("t1", max_attempts=3)
    for _ in range(2):
        d.choose("t1", "a")
        d.accept("t1", d.store())
        lose_on(d, "a")
        d.join("a")
        d.wait(0.5)
    d.choose("t1", "a")
    assert len(attempts_of(d)) == 3


def test_how_many_agents_poison_may_kill_is_a_setting() -> None:
    d = Drive(Thresholds(lost_before_poison=1))
    d.join("a")
    d.run()
    lose_on(d, "a")
    assert d.last(do.Write).entry.type == "dead"


def test_an_agent_that_leaves_in_order_costs_its_tasks_nothing() -> None:
    d = Drive(Thresholds(lost_before_poison=1))
    d.join("a")
    epoch = d.run(max_attempts=1)
    d.beat("a", epoch, state=AgentState.DRAINING)
    d.beat("a", epoch, state=AgentState.OFFLINE)
    ended = d.last(do.Write).entry
    assert isinstance(ended, Ended)
    assert (ended.type, ended.charged) == ("lost", False)
    d.store()
    d.join("b")
    d.wait(0.5)
    d.choose("t1", "b")
    assert attempts_of(d) == ["t1", "t1"]


def test_being_stopped_is_no_failure_of_task_or_agent() -> None:
    d = Drive()
    d.join("a")
    epoch = d.run(max_attempts=1)
    d.record(Failed("t1", 1, "a", epoch, AttemptError(ErrorClass.INTERRUPTED, "stopped", True)), "a")
    assert d.agent("a").failures_in_a_row == 0
    d.wait(0.5)
    d.choose("t1", "a")
    assert attempts_of(d) == ["t1", "t1"], "at once, and though only one attempt may fail"


def test_what_is_stopped_again_and_again_is_given_up() -> None:
    d = Drive(Thresholds(uncharged_before_dead=4))
    d.join("a")
    d.pull("t1")
    for attempt in range(1, 5):
        d.choose("t1", "a")
        epoch = d.store()
        d.accept("t1", epoch)
        error = AttemptError(ErrorClass.INTERRUPTED, "stopped", True)
        d.record(Failed("t1", attempt, "a", epoch, error), "a")
        d.wait(10.0)
    assert d.last(do.Write).entry.type == "dead"


def test_dead_tasks_are_listed_until_somebody_deals_with_them() -> None:
    d = Drive()
    d.join("a")
    epoch = d.run()
    d.record(Failed("t1", 1, "a", epoch, AttemptError(ErrorClass.QUOTA, "used up", False)), "a")
    seq = d.store()
    (letter,) = d.core.memory.letters.newest_first()
    assert letter == Letter(seq, "t1", "echo", "quota", 1, d.now)
    assert d.core.stats().dead_letters == 1
    decide(d, "discarded", dead_seq=seq)
    assert d.core.stats().dead_letters == 0


def test_a_dead_task_of_another_orchestrator_is_listed_too_and_only_once() -> None:
    d = Drive()
    closed = Closed("t9", 0, "dead", "no", "malformed", kind="echo")
    d.record(closed, "other", "orchestrator")
    d.record(closed, "liar", "agent")
    assert [letter.task_id for letter in d.core.memory.letters.newest_first()] == ["t9"]


def letter(seq: int) -> Letter:
    return Letter(seq, f"t{seq}", "echo", "handler", 1, 0.0)


def test_the_index_is_bounded_and_tells_what_it_leaves_out() -> None:
    index = LetterIndex(most=3)
    for seq in range(1, 6):
        index.add(letter(seq))
    assert ([one.seq for one in index.newest_first()], index.unlisted) == ([5, 4, 3], 2)


@pytest.mark.parametrize("type_", ["requeued", "discarded"])
def test_what_is_heard_again_does_not_come_back(type_: str) -> None:
    index = LetterIndex(most=3)
    index.settle(Control(type_, dead_seq=7))
    index.add(letter(7))
    assert len(index) == 0
