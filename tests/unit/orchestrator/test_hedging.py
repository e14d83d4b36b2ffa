"""Second attempts in the core: when one is asked for, and what becomes of two that live."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outrider.broker.limits import Limit
from outrider.broker.messages import TaskEnvelope
from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import AgentState
from outrider.ledger.control import Control
from outrider.ledger.entries import Assigned, Closed, Ended, Hedged
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from tests.unit.orchestrator.drive import Drive
from tests.unit.orchestrator.hedged_pair import EAGER, P95_S, Pair


def test_past_its_95th_percentile_the_router_is_asked_for_another_agent() -> None:
    drive = Pair()
    assert not [i for i in drive.pass_s(P95_S - 0.25) if isinstance(i, do.Route)]
    drive.pass_s(0.5)
    (question,) = drive.asked()
    assert [agent.agent_id for agent in question.request.agents] == ["b"]
    drive.choose("t", "b")
    entry = drive.last(do.Write).entry
    assert isinstance(entry, Hedged)
    assert (entry.attempt, entry.agent_id, entry.epoch) == (2, "b", 1)
    assert entry.ran_s >= entry.expected_s == pytest.approx(P95_S, abs=0.01)
    seq = drive.store()
    assert drive.last(do.Assign) == do.Assign("t", "b", 2, seq, seq, 1)
    assert drive.all(do.Renew) == [do.Renew("t", "a", 1, seq, seq)]


def test_a_task_that_did_not_ask_costs_nothing() -> None:
    drive = Pair(may_hedge=False)
    timers = drive.core.memory.timers
    first = timers.next()
    drive.pass_s(20)
    assert not drive.asked()
    assert timers.next() == first


@pytest.mark.parametrize(
    "why", ["no other", "full", "labels", "waiting", "paused", "limited", "ledger full", "spent", "no share"]
)
def test_no_second_attempt_while(why: str) -> None:
    thresholds = replace(EAGER, hedge_share=0.0) if why == "no share" else EAGER
    drive = Pair(thresholds, requires=("gpu",)) if why == "labels" else Pair(thresholds)
    memory = drive.core.memory
    if why == "no other":
        drive.beat("b", state=AgentState.OFFLINE)
    elif why == "full":
        drive.pull("x")
        drive.choose("x", "b")
        drive.store()
    elif why == "waiting":
        drive.pull("x")
    elif why == "paused":
        drive.feed(events.ControlStored(Control("paused", "echo"), 50))
    elif why == "limited":
        drive.feed(events.LimitSet(Limit("echo", concurrency=5), 1))
    elif why == "ledger full":
        drive.feed(events.LedgerSeen(0.9))
    elif why == "spent":
        memory.hedges.tokens, memory.hedges.counted = 0.0, memory.counters["attempts"]
    drive.pass_s(5)
    assert not drive.asked()


def test_it_is_asked_again_when_a_slot_gets_idle() -> None:
    drive = Pair()
    drive.beat("b", state=AgentState.DRAINING)
    drive.pass_s(3)
    assert not drive.asked()
    drive.beat("b")
    drive.pass_s(1)
    assert drive.asked()


def test_once_two_ran_the_task_wakes_nobody_before_its_lease() -> None:
    drive = Pair()
    drive.hedge()
    drive.agree()
    drive.beat("b", state=AgentState.OFFLINE)
    drive.store()
    drive.pass_s(1)
    until = drive.core.memory.timers.next()
    assert until is not None
    assert until > drive.now + 60


def test_the_router_may_say_nobody_and_never_the_first() -> None:
    drive = Pair()
    drive.pass_s(1.5)
    drive.feed(events.Routed(drive.last(do.Route).round, (), "m1"))
    assert not isinstance(drive.last(do.Write).entry, Hedged)
    drive.pass_s(1)
    drive.choose("t", "a")
    entry = drive.last(do.Write).entry
    assert isinstance(entry, Hedged)
    assert (entry.agent_id, entry.reason) == ("b", RouteReason.FALLBACK_BAD_ANSWER)


def test_without_a_router_the_built_in_rule_chooses() -> None:
    drive = Pair()
    drive.pass_s(1.5)
    drive.route_by_rule()
    assert isinstance(drive.last(do.Write).entry, Hedged)


def test_an_answer_that_comes_when_all_is_over_changes_nothing() -> None:
    drive = Pair()
    drive.pass_s(1.5)
    drive.record(Succeeded("t", 1, "a", 1), "a")
    drive.choose("t", "b")
    assert not [i for i in drive.all(do.Write) if isinstance(i.entry, Hedged)]
    assert not drive.core.memory.hedges.asked


@pytest.mark.parametrize(("winner", "loser", "attempt"), [("a", "b", 1), ("b", "a", 2)])
def test_the_first_recorded_wins_and_the_other_stops_at_once(winner: str, loser: str, attempt: int) -> None:
    drive = Pair()
    seq = drive.hedge()
    drive.agree()
    before = len(drive.done)
    drive.record(Succeeded("t", attempt, winner, seq, service_s=0.1), winner)
    stops = [i for i in drive.done[before:] if isinstance(i, do.StopAttempt)]
    assert {stop.agent_id for stop in stops} == {loser}
    assert {stop.epoch for stop in stops} == ({1, seq} if loser == "a" else {seq})
    assert not drive.core.memory.tasks
    assert drive.core.memory.agents.free_slots("echo") == 2
    drive.beat(loser, seq)
    assert drive.done[-1] == do.StopAttempt(loser, "t", seq, "succeeded")


@pytest.mark.parametrize("gone", ["a", "b"])
def test_an_agent_that_dies_leaves_the_other_without_a_new_attempt(gone: str) -> None:
    drive = Pair()
    drive.hedge()
    drive.agree()
    drive.beat(gone, state=AgentState.OFFLINE)
    entry = drive.last(do.Write).entry
    assert isinstance(entry, Ended)
    assert (entry.type, entry.agent_id) == ("lost", gone)
    seq = drive.store()
    story = drive.core.memory.tasks["t"].story
    assert (story.is_live, story.charged, story.newest) == (True, 0, 2)
    left = "b" if gone == "a" else "a"
    assert drive.last(do.Renew) == do.Renew("t", left, 2 if left == "b" else 1, seq, seq)
    drive.record(Succeeded("t", 2 if left == "b" else 1, left, seq), left)
    assert not drive.core.memory.tasks


def test_both_agents_die() -> None:
    drive = Pair()
    drive.hedge()
    drive.agree()
    drive.beat("a", state=AgentState.OFFLINE)
    drive.beat("b", state=AgentState.OFFLINE)
    drive.store()
    entry = drive.last(do.Write).entry
    assert isinstance(entry, Ended)
    assert (entry.type, entry.agent_id) == ("lost", "b")
    drive.store()
    assert not drive.core.memory.tasks["t"].story.is_live
    drive.pass_s(1)
    drive.join("c")
    drive.choose("t", "c")
    again = drive.last(do.Write).entry
    assert isinstance(again, Assigned)
    assert again.attempt == 3


def test_a_second_agent_that_refuses_costs_nothing() -> None:
    drive = Pair()
    drive.hedge()
    drive.agree(yes=False)
    entry = drive.last(do.Write).entry
    assert isinstance(entry, Ended)
    assert (entry.type, entry.agent_id, entry.charged) == ("rejected", "b", False)
    drive.store()
    task = drive.core.memory.tasks["t"]
    assert (task.story.is_live, task.second, task.story.uncharged_in_a_row) == (True, None, 0)
    drive.pass_s(5)
    assert len(drive.asked()) == 1


def test_each_attempt_has_its_own_timeout() -> None:
    drive = Pair(timeout_s=4.0)
    drive.hedge()
    drive.agree()
    drive.pass_s(8)
    entry = drive.last(do.Write).entry
    assert isinstance(entry, Ended)
    assert (entry.type, entry.agent_id) == ("timed_out", "a")
    drive.store()
    drive.pass_s(3)
    entry = drive.last(do.Write).entry
    assert isinstance(entry, Ended)
    assert (entry.type, entry.agent_id) == ("timed_out", "b")


def test_a_cancel_stops_both() -> None:
    drive = Pair()
    seq = drive.hedge()
    drive.agree()
    drive.feed(events.CancelRequested("t", "not wanted"))
    assert isinstance(drive.last(do.Write).entry, Closed)
    drive.store()
    stops = {(stop.agent_id, stop.epoch) for stop in drive.all(do.StopAttempt)}
    assert stops == {("a", 1), ("a", seq), ("b", seq)}
    assert not drive.core.memory.tasks


def test_a_cancel_while_the_second_is_being_written() -> None:
    drive = Pair()
    drive.pass_s(1.5)
    drive.choose("t", "b")
    drive.feed(events.CancelRequested("t", "not wanted"))
    drive.store()
    assert isinstance(drive.last(do.Write).entry, Closed)
    drive.store()
    assert {stop.agent_id for stop in drive.all(do.StopAttempt)} == {"a", "b"}


def test_the_second_is_sent_again_until_it_is_heard_and_always_under_its_first_epoch() -> None:
    drive = Pair()
    seq = drive.hedge()
    drive.pass_s(4)
    told = [i for i in drive.all(do.Assign) if i.agent_id == "b"]
    assert len(told) == 2
    assert {i.epoch for i in told} == {seq}
    drive.beat("a", state=AgentState.OFFLINE)
    end = drive.store()
    told = [i for i in drive.all(do.Assign) if i.agent_id == "b"]
    assert (told[-1].epoch, told[-1].expect) == (seq, seq)
    assert drive.last(do.Renew) == do.Renew("t", "b", 2, end, end)


def test_an_agent_that_names_an_older_epoch_is_told_again() -> None:
    drive = Pair()
    seq = drive.hedge()
    before = len(drive.all(do.Renew))
    drive.beat("a", 1)
    assert drive.all(do.Renew)[before:] == [do.Renew("t", "a", 1, seq, seq)]
    drive.beat("a", seq)
    beat = events.AgentBeat("a", "a-1", AgentState.ONLINE, 1, frozenset(), frozenset({seq}), None, None)
    drive.feed(beat)
    assert len(drive.all(do.Renew)) == before + 1


def test_progress_of_each_renews_its_own_lease() -> None:
    drive = Pair()
    drive.hedge()
    task = drive.core.memory.tasks["t"]
    assert task.second is not None
    drive.feed(events.ProgressSeen("t", 2, "b"))
    assert task.second.accepted_at == drive.now
    first, second = task.lease_until, task.second.lease_until
    assert second < first
    drive.pass_s(1)
    drive.feed(events.ProgressSeen("t", 1, "a"))
    assert task.lease_until < first
    assert task.second.lease_until == second


def test_after_a_restart_both_are_known_and_told() -> None:
    drive = Pair()
    drive.hedge()
    fresh = Drive(EAGER)
    fresh.core.memory.is_recovered = False
    envelope = TaskEnvelope("echo", None, "t", hedge=True)
    for write in (i for i in drive.all(do.Write) if i.task_id == "t"):
        entry = write.entry
        fresh.record(
            replace(entry, envelope=envelope) if isinstance(entry, Assigned) else entry,
            "o-old",
            "orchestrator",
        )
    fresh.feed(events.Recovered())
    fresh.join("a")
    fresh.join("b")
    fresh.wait(20)
    task = fresh.core.memory.tasks["t"]
    assert task.second is not None
    assert {(i.agent_id, i.epoch) for i in fresh.all(do.Assign)} == {("a", 1), ("b", 2)}
    assert fresh.all(do.Renew)[0] == do.Renew("t", "a", 1, 2, 2)
    assert fresh.core.memory.agents.free_slots("echo") == 0
