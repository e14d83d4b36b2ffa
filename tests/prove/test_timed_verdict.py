"""The judge of delayed tasks, fires and unique names sees each kind of failure."""

from __future__ import annotations

from dataclasses import replace

from outrider.broker.messages import TaskEnvelope
from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import RouteReason
from outrider.ledger.entries import Assigned
from outrider.ledger.fold import Record
from outrider.orchestrator.due import Fire
from tests.prove.book import Book
from tests.prove.notes import Execution
from tests.prove.timed import EVERY_S, Timed
from tests.prove.timed_verdict import TimedVerdict, judge_timed

NINE = 1000 * EVERY_S
TIMED = Timed(
    "tick", 1000, 1003, due_at={"d1": 50.0}, answers={"one": ["u1", "u1"]}, outages=[(NINE + 3.0, NINE + 3.5)]
)
RUN = Execution("e1", "d1", 1, 1, "agent-0", 77, 50.5, 51.0, is_finished=True)


def task(task_id: str, first: int, last: int, fired_at: float = 0.0, name: str = "") -> list[Record]:
    envelope = TaskEnvelope("work", {"name": name}, task_id, submitted_at=fired_at)
    entry = Assigned(task_id, 1, "agent-0", "i-1", 0, "work", 5, RouteReason.MODEL, envelope=envelope)
    end = Succeeded(task_id, 1, "agent-0", 1, {}, service_s=1.0)
    return [Record(first, "o", entry, 9.0), Record(last, "a", end, 10.0)]


FIRES = {f"tick-{n}": task(f"tick-{n}", n, n + 100, NINE + EVERY_S * n + 0.01) for n in range(4)}
UNIQUE = {"u1": task("u1", 200, 210, name="one")}


def judged(
    records: dict[str, list[Record]], timed: Timed = TIMED, run: Execution | None = RUN
) -> TimedVerdict:
    executions = {run.name: run} if run is not None else {}
    return judge_timed(timed, Book(records=records), executions)


def test_what_came_once_and_in_time_is_good() -> None:
    verdict = judged(FIRES | UNIQUE)
    assert verdict.all_faults() == []
    assert (verdict.delayed, verdict.fires, verdict.fires_passed_over) == (1, 4, 0)
    assert (verdict.unique_names, verdict.unique_submits, verdict.unique_tasks) == (1, 2, 1)


def test_a_delayed_task_that_starts_early_or_never_is_seen() -> None:
    assert judged(FIRES | UNIQUE, run=replace(RUN, started_at=49.9)).ran_early == ["d1"]
    assert judged(FIRES | UNIQUE, run=None).all_faults() == ["delayed task d1 never ran"]


def test_two_fires_for_one_time_are_seen() -> None:
    again = task("tick-9", 9, 109, NINE + EVERY_S - 0.1)
    assert judged(FIRES | UNIQUE | {"tick-9": again}).fired_twice == [1000]


def test_a_fire_that_counted_and_is_not_in_the_ledger_is_lost() -> None:
    fires = {n: Fire(n, NINE + EVERY_S * n, NINE + EVERY_S * (n + 1)) for n in range(4)}
    assert judged(FIRES | UNIQUE, replace(TIMED, fires=fires)).fires_lost == []
    without = {name: records for name, records in FIRES.items() if name != "tick-1"}
    assert judged(without | UNIQUE, replace(TIMED, fires=fires)).fires_lost == ["tick-1"]


def test_times_without_a_fire_are_counted_and_those_near_an_outage_apart() -> None:
    without = {name: records for name, records in FIRES.items() if name != "tick-1"}
    verdict = judged(without | UNIQUE)
    assert (verdict.fires_passed_over, verdict.fires_passed_over_while_up) == (1, 0)
    verdict = judged(without | UNIQUE, replace(TIMED, outages=[]))
    assert (verdict.fires_passed_over, verdict.fires_passed_over_while_up) == (1, 1)


def test_how_late_a_fire_is_counts_from_the_time_that_was_announced() -> None:
    fires = {
        1: Fire(1, NINE, NINE + 2.0),
        2: Fire(2, NINE + 5.5, NINE + 6.0),
        3: Fire(3, NINE + 6.0, NINE + 8.0),
    }
    assert judged(FIRES | UNIQUE, replace(TIMED, fires=fires)).worst_fire_late_s == 3.5


def test_two_open_tasks_of_one_name_are_seen_and_one_after_the_other_is_none() -> None:
    assert judged(FIRES | UNIQUE | {"u2": task("u2", 205, 215, name="one")}).open_twice == ["one"]
    assert judged(FIRES | UNIQUE | {"u2": task("u2", 211, 215, name="one")}).all_faults() == []


def test_what_is_due_and_still_in_later_is_seen() -> None:
    assert judged(FIRES | UNIQUE, replace(TIMED, left=["d7"])).all_faults()
