"""A ledger that is nearly full: nothing new begins, what has begun goes on, and all of it starts again."""

from __future__ import annotations

from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import ErrorClass
from outrider.ledger.entries import Assigned, Closed
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from tests.unit.orchestrator.drive import Drive

FULL, ROOMY = events.LedgerSeen(0.8), events.LedgerSeen(0.79)


def assigned(drive: Drive) -> list[str]:
    return [write.task_id for write in drive.all(do.Write) if isinstance(write.entry, Assigned)]


def rule_all(drive: Drive) -> None:
    if drive.core.memory.round is not None:
        drive.route_by_rule()


def test_at_the_threshold_no_first_attempt_begins_and_no_more_is_pulled() -> None:
    drive = Drive()
    drive.join(slots=4)
    assert drive.core.window("echo", 5) > 0
    drive.feed(FULL)
    drive.pull("t1")
    rule_all(drive)
    assert assigned(drive) == []
    assert drive.core.window("echo", 5) == 0
    stats = drive.core.stats()
    assert stats.ledger_used == 0.8
    assert stats.refuses == "the ledger is 80% full, and from 80% on no new task is taken"


def test_with_room_again_everything_that_waited_begins() -> None:
    drive = Drive()
    drive.join(slots=4)
    drive.feed(FULL)
    for task_id in ("t1", "t2", "t3"):
        drive.pull(task_id)
    drive.feed(ROOMY)
    rule_all(drive)
    assert sorted(assigned(drive)) == ["t1", "t2", "t3"]
    assert drive.core.stats().refuses is None
    assert drive.core.window("echo", 5) > 0


def test_what_has_begun_is_tried_again_and_ends_while_the_ledger_is_nearly_full() -> None:
    drive = Drive()
    drive.join(slots=2)
    epoch = drive.run("t1")
    drive.feed(FULL)
    error = AttemptError(ErrorClass.HANDLER, "x", retryable=True)
    drive.record(Failed("t1", 1, "a", epoch, error), "a")
    drive.wait(2)
    rule_all(drive)
    assert assigned(drive) == ["t1", "t1"]
    second = drive.store()
    drive.accept("t1", second)
    drive.record(Succeeded("t1", 2, "a", second), "a")
    assert not drive.core.memory.tasks


def test_a_task_that_waits_for_room_can_expire_and_be_cancelled() -> None:
    drive = Drive()
    drive.join(slots=2)
    drive.feed(FULL)
    drive.pull("late", deadline=drive.now + 5.0)
    drive.pull("unwanted")
    drive.wait(6)
    first = drive.last(do.Write).entry
    assert isinstance(first, Closed)
    assert (first.task_id, first.type) == ("late", "expired")
    drive.store()
    drive.feed(events.CancelRequested("unwanted", "not needed"))
    drive.store()
    drive.feed(ROOMY)
    rule_all(drive)
    assert assigned(drive) == []
    assert not drive.core.memory.tasks
    assert not drive.core.memory.without_room
