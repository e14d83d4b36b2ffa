"""A task may wait for an agent that is full: asked about again when anything changes, and never forgotten."""

from __future__ import annotations

from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import Choice, RouteReason
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.holding import MOST_OVERTAKEN
from outrider.orchestrator.transitions import TaskPhase
from tests.unit.orchestrator.drive import Drive


def busy_fleet(mean_s: float = 2.0, **thresholds: float) -> Drive:
    """Two agents with a slot each that both did the kind before; one of them is full."""
    d = Drive(Thresholds(**thresholds))  # type: ignore[arg-type]
    d.join("a")
    d.join("b")
    for name in ("a", "b"):
        d.agent(name).observe("echo", mean_s)
    d.run("busy")
    return d


def free_one(d: Drive) -> str:
    return "a" if d.agent("a").free else "b"


def hold(d: Drive, *task_ids: str) -> None:
    d.feed(events.Routed(d.last(do.Route).round, (), "m1", task_ids))


def rounds(d: Drive) -> int:
    return len(d.all(do.Route))


def test_the_router_is_told_of_full_agents_and_may_leave_a_task_waiting() -> None:
    d = busy_fleet()
    d.pull("t1")
    request = d.last(do.Route).request
    assert request.may_hold
    assert sorted((a.agent_id, a.in_flight, a.slots) for a in request.agents if a.free <= 0) == [
        (("b" if free_one(d) == "a" else "a"), 1, 1)
    ]
    before = rounds(d)
    hold(d, "t1")
    assert d.core.memory.tasks["t1"].phase is TaskPhase.HELD
    assert rounds(d) == before, "nothing changed, so nothing is asked again"


def test_a_free_slot_another_task_or_some_time_brings_it_up_again() -> None:
    for change in ("slot", "task", "time"):
        d = busy_fleet()
        d.pull("t1")
        hold(d, "t1")
        before = rounds(d)
        if change == "slot":
            d.join("c")
        elif change == "task":
            d.pull("t2")
        else:
            d.wait(1.0, step=0.25)
        assert rounds(d) > before
        assert "t1" in [task.task_id for task in d.last(do.Route).request.tasks]


def test_a_slot_that_gets_free_while_the_router_thinks_is_not_overlooked() -> None:
    d = busy_fleet()
    d.pull("t1")
    before = rounds(d)
    d.join("c")
    assert rounds(d) == before, "one round at a time"
    hold(d, "t1")
    assert rounds(d) == before + 1
    assert "c" in [agent.agent_id for agent in d.last(do.Route).request.agents]
    hold(d, "t1")
    assert rounds(d) == before + 1, "and it is asked once"


def test_behind_a_backlog_a_new_task_changes_nothing() -> None:
    d = busy_fleet(hold_ahead=1)
    d.pull("t0")
    for number in range(1, 4):
        d.pull(f"t{number}")
    hold(d, "t0")
    hold(d, *[task.task_id for task in d.last(do.Route).request.tasks])
    before = rounds(d)
    d.pull("t9")
    assert rounds(d) == before
    d.wait(0.75, step=0.25)
    assert rounds(d) > before


def test_a_router_that_chooses_and_holds_nothing_gives_way_to_the_rule() -> None:
    d = busy_fleet()
    d.pull("t1")
    hold(d)
    assert d.assigned_to() == free_one(d) or d.core.memory.tasks["t1"].phase is TaskPhase.ASSIGNING
    assert d.core.memory.counters["router_bad_answers"] == 1


def test_quick_kinds_are_not_held() -> None:
    d = busy_fleet(mean_s=0.01)
    d.pull("t1")
    request = d.last(do.Route).request
    assert not request.may_hold
    assert len(request.agents) == 1
    hold(d, "t1")
    assert d.core.memory.counters["router_bad_answers"] == 1


def test_with_nobody_at_work_there_is_nothing_to_wait_for() -> None:
    d = Drive()
    d.join("a")
    d.agent("a").observe("echo", 2.0)
    d.pull("t1")
    hold(d, "t1")
    assert d.assigned_to() == "a", "the built-in rule decides"


def test_one_that_waits_can_be_cancelled_and_expire() -> None:
    d = busy_fleet()
    d.pull("t1")
    hold(d, "t1")
    d.feed(events.CancelRequested("t1", ""))
    d.store()
    assert "t1" not in d.core.memory.tasks
    d.wait(2.0)


def test_a_task_that_was_overtaken_often_goes_first_and_is_not_left_waiting_again() -> None:
    d = busy_fleet()
    d.pull("patient")
    hold(d, "patient")
    for number in range(MOST_OVERTAKEN):
        let_another_go_first(d, f"later{number}", "patient")
    d.pull("one-more")
    request = d.last(do.Route).request
    assert [task.task_id for task in request.tasks] == ["patient"]
    assert not request.may_hold


def let_another_go_first(d: Drive, later: str, patient: str) -> None:
    """A task comes, is placed in spite of the patient one, and ends."""
    d.pull(later)
    request = d.last(do.Route)
    assert {task.task_id for task in request.request.tasks} == {patient, later}
    agent = free_one(d)
    choice = Choice(later, agent, 0.5, 1.0, 0.5, RouteReason.MODEL)
    d.feed(events.Routed(request.round, (choice,), "m1", (patient,)))
    epoch = d.store()
    d.accept(later, epoch)
    d.record(Succeeded(later, 1, agent, epoch, None, 2.0), agent)
    hold(d, patient)
