"""Tasks that wait for others: written as blocked, moved on by the last end, never asked about in a circle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from outrider.broker.flows import OnFailure, Waits
from outrider.broker.messages import AttemptError, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import LedgerAddress
from outrider.ledger.entries import Assigned, Blocked, Closed, Entry
from outrider.ledger.fold import Story
from outrider.ledger.rules import Phase
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.transitions import TaskPhase
from tests.unit.orchestrator.drive import Drive

RUN = OnFailure.RUN


def found(d: Drive, **states: str) -> None:
    """Queue and ledger answer the newest question; what is not named lives."""
    asked = d.last(do.ReadParents).task_ids
    d.feed(events.ParentsRead(tuple((p, states.get(p.replace("-", "_"), "queued")) for p in asked)))


def succeed(d: Drive, task_id: str, epoch: int) -> None:
    d.record(Succeeded(task_id, 1, "a", epoch), "a")


def give_up(d: Drive, task_id: str, epoch: int) -> None:
    error = AttemptError(ErrorClass.HANDLER, "no", retryable=False)
    d.record(Failed(task_id, 1, "a", epoch, error), "a")
    d.store()


def block(d: Drive, task_id: str, waits: Waits, **fields: Any) -> Blocked:
    d.pull(task_id, waits=waits, **fields)
    if d.core.memory.barriers.asked:
        found(d)
    entry = written(d)
    assert isinstance(entry, Blocked)
    d.store()
    return entry


def written(d: Drive) -> Entry:
    return d.last(do.Write).entry


def phase(d: Drive, task_id: str) -> TaskPhase:
    return d.core.memory.tasks[task_id].phase


def test_a_child_of_a_running_task_is_written_as_blocked_and_leaves_the_queue() -> None:
    d = Drive()
    d.join()
    d.run("p")
    entry = block(d, "t1", Waits(("p",)))
    assert entry.after == ("p",)
    assert d.last(do.AckTask).task_id == "t1"
    assert phase(d, "t1") is TaskPhase.BLOCKED
    assert not d.all(do.ReadParents), "what is in memory is not looked up"


def test_the_last_end_moves_the_child_on_and_the_ledger_still_has_its_payload() -> None:
    d = Drive()
    d.join(slots=3)
    first, second = d.run("p1"), d.run("p2")
    block(d, "t1", Waits(("p1", "p2")))
    blocked_at = d.seq
    succeed(d, "p1", first)
    assert phase(d, "t1") is TaskPhase.BLOCKED
    d.wait(5)
    d.beat("a", second)
    succeed(d, "p2", second)
    d.route_by_rule()
    entry = written(d)
    assert isinstance(entry, Assigned)
    assert (entry.task_id, entry.attempt, entry.epoch, entry.waiting_s) == ("t1", 1, blocked_at, 0.0)
    d.store()
    assert d.last(do.Assign).envelope_seq == blocked_at


def test_a_child_whose_parents_are_over_is_never_blocked() -> None:
    d = Drive()
    d.join()
    d.pull("t1", waits=Waits(("p",)))
    assert not d.all(do.Write)
    found(d, p="succeeded")
    d.route_by_rule()
    assert isinstance(written(d), Assigned)


def test_nobody_asks_again_while_a_parent_waits_in_the_queue() -> None:
    d = Drive()
    d.join()
    block(d, "t1", Waits(("p",)))
    d.wait(29)
    assert len(d.all(do.ReadParents)) == 1
    d.wait(2)
    assert len(d.all(do.ReadParents)) == 2, "once in a while, in case that an end was missed"
    found(d, p="succeeded")
    assert phase(d, "t1") is TaskPhase.ROUTING


@pytest.mark.parametrize("state", ["dead", "cancelled", "expired"])
def test_a_parent_without_success_cancels_the_child_by_default(state: str) -> None:
    d = Drive()
    d.join()
    d.pull("t1", waits=Waits(("p",)))
    found(d, p=state)
    entry = written(d)
    assert isinstance(entry, Closed)
    assert (entry.type, entry.reason) == ("cancelled", f"task p, which it waited for, is {state}")


def test_the_cancellation_cascades_and_ends_every_descendant_once() -> None:
    d = Drive()
    d.join()
    epoch = d.run("p")
    block(d, "t1", Waits(("p",)))
    block(d, "t2", Waits(("t1",)))
    give_up(d, "p", epoch)
    assert written(d).task_id == "t1"
    d.store()
    closed = written(d)
    assert isinstance(closed, Closed)
    assert (closed.task_id, closed.type) == ("t2", "cancelled")
    d.store()
    assert not d.core.memory.tasks
    assert not d.core.memory.barriers


def test_on_failure_run_starts_the_child_all_the_same() -> None:
    d = Drive()
    d.join()
    epoch = d.run("p")
    block(d, "t1", Waits(("p",), RUN))
    give_up(d, "p", epoch)
    assert phase(d, "t1") is TaskPhase.ROUTING


def test_a_parent_that_ends_while_the_child_is_being_written_is_not_missed() -> None:
    d = Drive()
    d.join()
    epoch = d.run("p")
    d.pull("t1", waits=Waits(("p",)))
    write = d.last(do.Write)
    succeed(d, "p", epoch)
    d.seq += 1
    d.feed(events.Written("t1", write.number, d.seq))
    assert phase(d, "t1") is TaskPhase.ROUTING


def test_an_unknown_parent_sends_the_child_back_for_a_while_and_then_ends_it() -> None:
    d = Drive()
    d.join()
    d.pull("t1", waits=Waits(("typo",)))
    found(d, typo="")
    assert d.last(do.GiveBack).task_id == "t1"
    submitted = d.now
    d.wait(11)
    d.pull("t1", waits=Waits(("typo",)), submitted=submitted)
    found(d, typo="")
    entry = written(d)
    assert isinstance(entry, Closed)
    assert entry.type == "dead"
    assert "typo" in entry.reason


def test_a_circle_of_direct_publishes_is_noticed() -> None:
    d = Drive()
    d.join()
    block(d, "t1", Waits(("t2",)))
    d.pull("t2", waits=Waits(("t1",)))
    entry = written(d)
    assert isinstance(entry, Closed)
    assert (entry.task_id, entry.type) == ("t2", "dead")


def test_a_blocked_task_can_be_cancelled_and_expires() -> None:
    d = Drive()
    d.join()
    d.run("p", timeout_s=500.0)
    block(d, "t1", Waits(("p",)))
    block(d, "t2", Waits(("p",)), deadline=d.now + 5)
    d.feed(events.CancelRequested("t1", "not needed"))
    assert written(d).type == "cancelled"
    d.store()
    d.wait(6)
    assert (written(d).task_id, written(d).type) == ("t2", "expired")
    d.store()
    assert not d.core.memory.barriers


def test_too_many_blocked_tasks_stay_in_the_queue_but_what_is_ready_passes() -> None:
    d = Drive(Thresholds(most_blocked=1))
    d.join()
    d.run("p", timeout_s=500.0)
    block(d, "t1", Waits(("p",)))
    d.pull("t2", waits=Waits(("p",)))
    assert d.last(do.GiveBack).task_id == "t2"
    d.pull("t3", waits=Waits(("q",)))
    found(d, q="succeeded")
    assert phase(d, "t3") is TaskPhase.HELD


def test_an_unknown_outcome_of_the_write_lets_nobody_start_early() -> None:
    d = Drive()
    d.join(slots=2)
    d.run("p")
    d.pull("t1", waits=Waits(("p",)))
    d.feed(events.WriteFailed("t1", d.last(do.Write).number, False, "no confirmation"))
    story = replace(d.core.memory.tasks["t1"].story)
    d.feed(events.StoryRead("t1", story))
    assert phase(d, "t1") is TaskPhase.BLOCKED
    assert isinstance(written(d), Blocked)


# ---- from the ledger of others


def blocked_elsewhere(d: Drive, task_id: str, *after: str, writer: str = "o-1") -> None:
    envelope = TaskEnvelope("echo", task_id=task_id)
    d.record(Blocked(task_id, "echo", 5, after, envelope=envelope), writer, "orchestrator")


def test_a_restart_folds_who_waits_for_whom_and_acts_when_the_owner_is_silent() -> None:
    d = Drive()
    d.join()
    epoch = d.run("p")
    blocked_elsewhere(d, "t1", "p")
    succeed(d, "p", epoch)
    assert phase(d, "t1") is TaskPhase.BLOCKED, "it is not ours"
    d.wait(8)
    assert phase(d, "t1") is TaskPhase.ROUTING


def test_an_end_before_the_blocked_entry_is_looked_up_at_takeover() -> None:
    d = Drive()
    d.join()
    blocked_elsewhere(d, "t1", "p")
    assert not d.all(do.ReadParents)
    d.wait(8)
    found(d, p="succeeded")
    d.route_by_rule()
    assert written(d).task_id == "t1"


def test_a_task_blocked_by_another_orchestrator_leaves_our_hands() -> None:
    d = Drive()
    d.join()
    d.pull("t1", waits=Waits(("p",)))
    blocked_elsewhere(d, "t1", "p")
    task = d.core.memory.tasks["t1"]
    assert (task.story.phase, task.is_in_queue) == (Phase.BLOCKED, False)


def test_an_end_of_a_task_that_is_not_in_memory_is_looked_up() -> None:
    d = Drive()
    d.join()
    block(d, "t1", Waits(("p",), RUN))
    d.feed(events.MayHaveEnded("p"))
    assert len(d.all(do.ReadParents)) == 2
    found(d, p="cancelled")
    assert phase(d, "t1") is TaskPhase.ROUTING


# ---- groups


def test_a_hook_starts_once_after_all_members_ended_however_they_ended() -> None:
    d = Drive()
    d.join(slots=5)
    epochs = [d.run(f"g-{n}") for n in range(3)]
    entry = block(d, "g-hook", Waits((), RUN, "g", 3))
    assert (entry.after_group, entry.after_group_size) == ("g", 3)
    succeed(d, "g-0", epochs[0])
    give_up(d, "g-1", epochs[1])
    assert phase(d, "g-hook") is TaskPhase.BLOCKED
    succeed(d, "g-2", epochs[2])
    assert phase(d, "g-hook") is TaskPhase.ROUTING
    assert not d.core.memory.barriers


def test_a_large_group_is_looked_up_in_bounded_reads_one_at_a_time() -> None:
    d = Drive()
    d.join()
    d.pull("g-hook", waits=Waits((), RUN, "g", 250))
    sizes = []
    for _ in range(3):
        sizes.append(len(d.last(do.ReadParents).task_ids))
        assert len(d.all(do.ReadParents)) == len(sizes)
        found(d, g_0="succeeded")
    assert sizes == [100, 100, 50]
    entry = written(d)
    assert isinstance(entry, Blocked)
    assert d.core.memory.barriers.waiting["g-hook"].left == 249


def test_other_groups_and_higher_numbers_do_not_count() -> None:
    d = Drive()
    d.join(slots=5)
    other, more = d.run("h-0"), d.run("g-7")
    block(d, "g-hook", Waits((), RUN, "g", 1))
    succeed(d, "h-0", other)
    succeed(d, "g-7", more)
    assert phase(d, "g-hook") is TaskPhase.BLOCKED


def test_a_parent_at_hand_whose_end_passed_us_by_is_read_and_let_go() -> None:
    d = Drive()
    d.join()
    d.pull("first", waits=Waits(("q",)))
    d.pull("t1", waits=Waits(("p",)))
    d.pull("p", waits=Waits(("r",)))
    d.feed(events.ParentsRead((("q", "queued"), ("p", "cancelled"), ("r", "queued"))))
    assert d.last(do.ReadStory).task_id == "p"
    story = Story("p")
    story.apply(9, LedgerAddress("p", "orchestrator", "me"), Closed("p", 0, "cancelled", "asked"))
    d.feed(events.StoryRead("p", story))
    assert "p" not in d.core.memory.tasks
    assert "p" in [i.task_id for i in d.all(do.AckTask)]
