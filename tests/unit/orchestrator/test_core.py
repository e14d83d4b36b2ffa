"""What the core decides, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outrider.broker.messages import AttemptError, SpooledEpoch
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import AgentState, ErrorClass
from outrider.ledger.entries import Closed, Ended
from outrider.ledger.rules import Phase
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.transitions import InvalidTransition, TaskPhase, Trigger, next_phase
from tests.unit.orchestrator.drive import Drive


def failed(epoch: int, *, retryable: bool = True, retry_after_s: float | None = None) -> Failed:
    error = AttemptError(ErrorClass.RATE_LIMITED, "slow down", retryable, retry_after_s)
    return Failed("t1", 1, "a", epoch, error)


def test_the_agent_hears_of_an_attempt_only_after_the_ledger_has_it() -> None:
    d = Drive()
    d.join()
    d.pull("t1")
    d.choose("t1", "a")
    assert not d.all(do.Assign)
    epoch = d.store()
    assert d.last(do.Assign).epoch == epoch
    assert d.last(do.AckTask).task_id == "t1"


def test_while_one_round_is_under_way_the_next_batch_gathers() -> None:
    d = Drive()
    d.join(slots=5)
    for number in range(4):
        d.pull(f"t{number}")
    assert [len(r.request.tasks) for r in d.all(do.Route)] == [1]
    d.choose("t0", "a")
    assert [len(r.request.tasks) for r in d.all(do.Route)] == [1, 3]


def test_no_more_tasks_are_asked_about_than_slots_are_free() -> None:
    d = Drive()
    d.join(slots=2)
    d.pull("t0")
    for number in range(1, 6):
        d.pull(f"t{number}")
    d.choose("t0", "a")
    assert len(d.last(do.Route).request.tasks) == 1


@pytest.mark.parametrize("answer", ["nobody", "b"])
def test_a_choice_that_makes_no_sense_goes_by_the_rule(answer: str) -> None:
    d = Drive()
    d.join()
    d.join("b", slots=1)
    d.run("busy")
    busy = d.core.memory.tasks["busy"].story.agent_id
    d.pull("t1")
    d.choose("t1", busy if answer == "b" else answer)
    assert d.assigned_to() != busy
    assert d.core.memory.counters["router_bad_answers"] == 1


def test_a_late_answer_of_the_router_changes_nothing() -> None:
    d = Drive()
    d.join()
    d.pull("t1")
    number = d.last(do.Route).round
    d.route_by_rule()
    writes = len(d.all(do.Write))
    d.feed(events.Routed(number, (), "m1"))
    assert len(d.all(do.Write)) == writes


def test_an_assignment_without_a_sign_is_sent_again() -> None:
    d = Drive()
    d.join()
    d.pull("t1")
    d.route_by_rule()
    epoch = d.store()
    d.wait(3.5)
    assert [a.epoch for a in d.all(do.Assign)] == [epoch, epoch]


def test_progress_renews_the_lease_and_silence_after_it_ends_the_attempt() -> None:
    d = Drive()
    d.join()
    epoch = d.run("t1", timeout_s=500.0)
    for _ in range(10):
        d.wait(20)
        d.beat("a", epoch)
        d.feed(events.ProgressSeen("t1", 1, "a"))
    assert not [w for w in d.all(do.Write) if isinstance(w.entry, Ended)]
    d.wait(32)
    ended = d.last(do.Write).entry
    assert isinstance(ended, Ended)
    assert (ended.type, ended.why) == ("timed_out", "no sign of progress within its lease")


def test_progress_of_another_attempt_renews_nothing() -> None:
    d = Drive()
    d.join()
    d.run("t1")
    before = d.core.memory.tasks["t1"].lease_until
    d.feed(events.ProgressSeen("t1", 7, "a"))
    d.feed(events.ProgressSeen("t1", 1, "somebody"))
    assert d.core.memory.tasks["t1"].lease_until == before


def test_retry_after_wins_over_the_backoff() -> None:
    d = Drive()
    d.join()
    epoch = d.run()
    d.record(failed(epoch, retry_after_s=40.0), "a")
    d.wait(39)
    d.beat("a")
    assert len(d.all(do.Route)) == 1
    d.wait(2)
    assert len(d.all(do.Route)) == 2


def test_a_cancel_while_the_assignment_is_written_waits_for_its_receipt() -> None:
    d = Drive()
    d.join()
    d.pull("t1")
    d.route_by_rule()
    d.feed(events.CancelRequested("t1", "changed my mind"))
    assert len(d.all(do.Write)) == 1
    d.store()
    closed = d.last(do.Write).entry
    assert isinstance(closed, Closed)
    assert closed.type == "cancelled"
    d.store()
    assert d.last(do.StopAttempt).task_id == "t1"
    assert d.last(do.Announce).state == "cancelled"


def test_an_agent_that_fails_much_cools_down_and_is_probed_with_one_task() -> None:
    d = Drive(Thresholds(failures_before_cool_down=1, cool_down_s=5.0, backoff_first_s=0.001))
    d.join(slots=4)
    epoch = d.run()
    d.record(failed(epoch), "a")
    assert d.agent().state is AgentState.COOLING_DOWN
    d.wait(6)
    assert d.agent().state is AgentState.ONLINE
    assert d.agent().is_probing
    d.pull("t2")
    assert len(d.last(do.Route).request.tasks) == 1


def test_a_silent_agent_is_suspect_then_offline_and_its_attempt_lost() -> None:
    d = Drive()
    d.join()
    d.run()
    d.wait(46)
    assert d.agent().state is AgentState.SUSPECT
    d.wait(16)
    assert d.agent().state is AgentState.OFFLINE
    ended = d.last(do.Write).entry
    assert isinstance(ended, Ended)
    assert (ended.type, ended.charged) == ("lost", True)


def test_an_orchestrator_that_did_not_listen_blames_nobody() -> None:
    d = Drive()
    d.join()
    d.run()
    d.now += 300
    d.feed(events.Ticked())
    assert d.agent().state is AgentState.ONLINE
    d.feed(events.LinkChanged(False))
    d.wait(120)
    d.feed(events.LinkChanged(True))
    d.wait(1)
    assert d.agent().state is AgentState.ONLINE


def test_a_restarted_agent_keeps_what_it_spooled_and_loses_the_rest() -> None:
    d = Drive()
    d.join(slots=2)
    kept = d.run("t1")
    d.run("t2")
    d.feed(events.AgentJoined("a", "a-2", ("echo",), 2, (), (SpooledEpoch("t1", kept),), "host"))
    lost = [w.entry for w in d.all(do.Write) if isinstance(w.entry, Ended)]
    assert [entry.task_id for entry in lost] == ["t2"]


def test_a_success_that_beats_our_own_write_stands() -> None:
    d = Drive()
    d.join()
    epoch = d.run()
    d.feed(events.CancelRequested("t1", "too late"))
    success = Succeeded("t1", 1, "a", epoch)
    d.record(success, "a")
    d.feed(events.WriteFailed("t1", d.last(do.Write).number, True, "another entry came first"))
    story = d.core.memory.tasks["t1"].story
    story = replace(story, expect=d.seq, epoch=d.seq, phase=Phase.CLOSED, last=success)
    d.feed(events.StoryRead("t1", story))
    assert d.last(do.Announce).state == "succeeded"
    assert "t1" not in d.core.memory.tasks


def test_the_window_follows_the_free_slots_and_closes_without_agents() -> None:
    d = Drive(Thresholds(lookahead=3))
    assert d.core.window("echo", 5) == 0
    d.join(slots=2)
    assert d.core.window("echo", 5) == 5
    d.pull("t1")
    assert d.core.window("echo", 5) == 4
    d.beat(state=AgentState.DRAINING)
    assert d.core.window("echo", 5) == 0


def test_an_illegal_move_is_a_typed_error_with_the_story() -> None:
    with pytest.raises(InvalidTransition, match=r"t1 is held and cannot be accepted; its story: 'told'"):
        next_phase("t1", TaskPhase.HELD, Trigger.ACCEPTED, "told")
