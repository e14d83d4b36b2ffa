"""Cases that the simulator found in the core, each as short as it can be told."""

from __future__ import annotations

from dataclasses import replace

from outrider.broker.facts import TaskFacts
from outrider.broker.messages import AttemptError, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import AgentState, ErrorClass
from outrider.broker.subjects import LedgerAddress
from outrider.ledger.entries import Assigned, Closed, Ended
from outrider.ledger.fold import Story
from outrider.ledger.rules import Phase
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.transitions import TaskPhase
from tests.unit.orchestrator.drive import Drive


def assigned(epoch: int = 0, attempt: int = 1, agent_id: str = "a") -> Assigned:
    """An assignment that another orchestrator wrote."""
    envelope = TaskEnvelope("echo", "payload", "t1") if attempt == 1 else None
    return Assigned(
        "t1",
        attempt,
        agent_id,
        "a-1",
        epoch,
        "echo",
        5,
        RouteReason.COLD,
        facts=TaskFacts(),
        envelope=envelope,
    )


def foreign(d: Drive) -> int:
    """t1 runs on an agent, given to it by another orchestrator; returns its epoch."""
    d.record(assigned(), "another", "orchestrator")
    d.feed(events.PulseHeard("another", False))
    epoch = d.seq
    d.beat("a", epoch)
    return epoch


def test_a_running_task_that_is_taken_over_still_times_out() -> None:
    d = Drive()
    d.join()
    epoch = foreign(d)
    for _ in range(70):
        d.wait(10)
        d.beat("a", epoch)
    ended = d.last(do.Write).entry
    assert isinstance(ended, Ended)
    assert ended.type == "timed_out"


def test_what_ran_on_an_agent_that_was_gone_before_the_takeover_is_lost() -> None:
    d = Drive()
    d.join()
    foreign(d)
    d.beat("a", state=AgentState.OFFLINE)
    assert not d.all(do.Write)
    d.wait(8)
    ended = d.last(do.Write).entry
    assert isinstance(ended, Ended)
    assert ended.type == "lost"


def test_a_takeover_outlasts_an_outage_of_our_own_link() -> None:
    d = Drive()
    d.join()
    foreign(d)
    d.wait(8)
    d.feed(events.LinkChanged(False))
    d.feed(events.LinkChanged(True))
    task = d.core.memory.tasks["t1"]
    assert d.core.memory.is_mine(task)
    d.feed(events.PulseHeard("another", False))
    assert not d.core.memory.is_mine(task)


def test_an_entry_beside_our_own_write_waits_for_the_receipt() -> None:
    d = Drive()
    d.join()
    epoch = d.run()
    d.feed(events.CancelRequested("t1", "enough"))
    own = d.last(do.Write)
    d.seq += 1
    stored_at = d.seq
    # The agent expected nothing, so both are stored; ours came first and counts.
    d.record(Succeeded("t1", 1, "a", epoch), "a")
    assert "t1" in d.core.memory.tasks
    d.feed(events.Written("t1", own.number, stored_at))
    assert d.last(do.Announce).state == "cancelled"


def test_a_receipt_of_an_older_write_settles_nothing() -> None:
    d = Drive()
    d.join()
    d.pull("t1")
    d.route_by_rule()
    first = d.last(do.Write)
    entry = replace(assigned(), instance="a-1")
    d.record(entry, "me", "orchestrator")
    d.feed(events.CancelRequested("t1", "enough"))
    assert d.last(do.Write).number != first.number
    d.feed(events.Written("t1", first.number, d.seq))
    assert "t1" in d.core.memory.tasks
    assert d.core.memory.tasks["t1"].phase is TaskPhase.ASSIGNED


def test_an_entry_that_is_not_allowed_moves_nothing_until_the_story_is_read() -> None:
    d = Drive()
    d.join()
    d.pull("t1")
    d.seq = 7
    d.record(Failed("t1", 1, "a", 3, AttemptError(ErrorClass.HANDLER, "no", True)), "a")
    assert d.last(do.ReadStory).task_id == "t1"
    d.route_by_rule()
    assert d.last(do.Write).expect == 0


def test_a_story_that_was_read_too_early_is_read_again() -> None:
    d = Drive()
    d.join()
    epoch = d.run()
    d.feed(events.CancelRequested("t1", "enough"))
    old = replace(d.core.memory.tasks["t1"].story, expect=epoch - 1, epoch=0, phase=Phase.UNWRITTEN)
    d.feed(events.WriteFailed("t1", d.last(do.Write).number, True, "another entry came first"))
    before = len(d.all(do.ReadStory))
    d.feed(events.StoryRead("t1", old))
    assert len(d.all(do.ReadStory)) == before + 1
    assert d.core.memory.tasks["t1"].story.epoch == epoch


def test_a_task_whose_deadline_passed_while_it_was_routed_is_not_started() -> None:
    d = Drive()
    d.join()
    d.pull("t1", deadline=d.now + 1)
    d.now += 1.5
    d.route_by_rule()
    assert d.last(do.Write).entry.type == "expired"


def test_an_agent_that_beats_and_is_unknown_is_taken_in() -> None:
    d = Drive()
    beat = events.AgentBeat(
        "a", "a-1", AgentState.ONLINE, 2, frozenset(), frozenset(), ("echo",), labels=("gpu",)
    )
    d.feed(beat)
    assert d.agent("a").state is AgentState.ONLINE
    assert d.core.window("echo", 5) > 0
    assert d.last(do.WriteMember).member.type == "joined"


def test_an_agent_that_does_not_stop_is_told_again() -> None:
    d = Drive()
    d.join()
    epoch = d.run()
    d.feed(events.CancelRequested("t1", "enough"))
    d.store()
    d.beat("a", epoch)
    d.beat("a", epoch)
    d.beat("a")
    assert [stop.epoch for stop in d.all(do.StopAttempt)] == [epoch] * 3


def test_an_attempt_that_the_story_has_ended_is_stopped() -> None:
    d = Drive()
    d.join()
    epoch = d.run()
    story = d.core.memory.tasks["t1"].story
    lost = Ended("t1", 1, "a", epoch, "lost")
    d.feed(events.CancelRequested("t1", "enough"))
    d.feed(events.WriteFailed("t1", d.last(do.Write).number, True, "another entry came first"))
    d.seq += 1
    read = replace(story, expect=d.seq, epoch=d.seq, phase=Phase.BETWEEN, last=lost, owner="another")
    d.feed(events.StoryRead("t1", read))
    assert d.last(do.StopAttempt).epoch == epoch


def test_a_letter_that_was_dealt_with_before_the_start_does_not_come_back() -> None:
    """Its task was sent once more by a client that had no receipt, and its story is read."""
    d = Drive()
    d.feed(events.Recovered(20))
    d.join()
    d.pull("t1")
    d.route_by_rule()
    asked = d.last(do.Write)
    d.feed(events.WriteFailed("t1", asked.number, True, "another entry came first"))
    story = Story("t1")
    story.apply(9, LedgerAddress("t1", "orchestrator", "o"), replace(assigned(), epoch=0))
    closed = Closed("t1", 9, "dead", "hopeless", "handler", kind="echo")
    story.apply(15, LedgerAddress("t1", "orchestrator", "o"), closed)
    assert story.is_terminal
    d.feed(events.StoryRead("t1", story))
    assert "t1" not in d.core.memory.tasks
    assert not d.core.memory.letters.newest_first()


def test_an_agent_that_takes_again_what_had_failed_there_is_told_to_stop() -> None:
    """It was restarted while we stood still, and was sent the attempt once more."""
    d = Drive()
    d.join()
    epoch = d.run("t1")
    d.record(Failed("t1", 1, "a", epoch, AttemptError(ErrorClass.HANDLER, "no", True)), "a")
    assert not d.all(do.StopAttempt)
    d.accept("t1", epoch)
    assert d.last(do.StopAttempt) == do.StopAttempt("a", "t1", epoch, "failed")
