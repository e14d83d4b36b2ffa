"""A checker that cannot fail proves nothing: each kind of failure is put before the judge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import ErrorClass
from outrider.ledger.entries import Assigned, Closed, Entry
from outrider.ledger.fold import Record
from tests.prove.blows import Blow
from tests.prove.book import Book
from tests.prove.notes import Execution
from tests.prove.plan import Fault, plan
from tests.prove.verdict import judge

RUN = Execution("e1", "t1", 1, 1, "agent-0", 77, 10.0, 11.0, is_finished=True)


def assigned(seq: int = 1, attempt: int = 1, epoch: int = 0) -> Record:
    entry = Assigned("t1", attempt, "agent-0", "i-1", epoch, "work", 5, RouteReason.MODEL)
    return Record(seq, "prove.ledger.t1.orchestrator.o-1", entry, 9.0)


def said(entry: Entry, seq: int = 2, at: float = 11.0) -> Record:
    return Record(seq, "prove.ledger.t1.agent.agent-0", entry, at)


def succeeded(execution: str = "e1", **fields: Any) -> Succeeded:
    return replace(Succeeded("t1", 1, "agent-0", 1, {"execution": execution}, service_s=1.0), **fields)


def book(*records: Record) -> Book:
    filled = Book({"t1": 8.0})
    for record in records:
        filled.add(record)
    return filled


def test_a_task_that_was_given_run_and_recorded_once_is_good() -> None:
    verdict = judge(book(assigned(), said(succeeded())), {"e1": RUN}, set())
    assert verdict.is_good
    assert verdict.ends == {"succeeded": 1}


def test_an_accepted_task_that_stands_nowhere_is_lost() -> None:
    verdict = judge(book(), {}, set())
    assert verdict.lost == ["t1"]
    assert not verdict.is_good


def test_a_task_that_still_waits_is_not_lost_but_not_terminal() -> None:
    verdict = judge(book(), {}, {"t1"})
    assert (verdict.lost, verdict.not_terminal) == ([], ["t1"])
    assert not verdict.is_good


def test_a_second_terminal_entry_is_seen_although_the_fold_ignores_it() -> None:
    twice = book(assigned(), said(succeeded()), said(succeeded(), seq=3))
    verdict = judge(twice, {"e1": RUN}, set())
    assert verdict.recorded_twice == ["t1"]
    assert not verdict.is_good


def test_a_task_without_an_end_is_not_terminal() -> None:
    verdict = judge(book(assigned()), {"e1": RUN}, set())
    assert verdict.not_terminal == ["t1"]


def test_a_result_that_no_handler_wrote_down_is_seen() -> None:
    for run in (
        replace(RUN, is_finished=False),
        replace(RUN, task_id="t2"),
        replace(RUN, agent_id="agent-1"),
    ):
        assert not judge(book(assigned(), said(succeeded())), {"e1": run}, set()).is_good
    assert not judge(book(assigned(), said(succeeded("e9"))), {"e1": RUN}, set()).is_good


def test_a_run_that_the_ledger_gave_to_nobody_is_seen() -> None:
    stray = replace(RUN, name="e2", epoch=5)
    assert not judge(book(assigned(), said(succeeded())), {"e1": RUN, "e2": stray}, set()).is_good


def test_an_entry_that_the_fold_ignores_is_seen() -> None:
    late = Failed("t1", 1, "agent-0", 1, AttemptError(ErrorClass.HANDLER, "late", True))
    verdict = judge(book(assigned(), said(succeeded()), said(late, seq=3)), {"e1": RUN}, set())
    assert verdict.recorded_twice == []
    assert not verdict.is_good


def test_a_task_that_was_given_up_is_seen() -> None:
    dead = Closed("t1", 0, "dead", "no more attempts")
    record = Record(1, "prove.ledger.t1.orchestrator.o-1", dead, 9.0)
    assert not judge(book(record), {}, set()).is_good


def test_work_in_hand_is_known_for_every_role() -> None:
    filled = book(assigned(), said(succeeded()))
    runs = {"e1": RUN}

    def had_work(role: str, victim: str, at: float) -> bool:
        fault = Fault(role, 0, "kill", 0.0, 1.0, 0.0)
        return Blow(fault, at, victim, 77).had_work(filled, runs)

    assert had_work("agent", "agent agent-0", 10.5)
    assert not had_work("agent", "agent agent-0", 11.5)
    assert had_work("orchestrator", "orchestrator o-1", 10.0)
    assert not had_work("orchestrator", "orchestrator o-2", 10.0)
    assert not had_work("orchestrator", "orchestrator o-1", 12.0)
    assert had_work("router", "router", 8.5)
    assert not had_work("router", "router", 10.0)
    assert had_work("server", "server", 10.0)
    assert not had_work("bridge", "bridge", 12.0)


def test_one_seed_gives_one_plan() -> None:
    assert plan(5, 50) == plan(5, 50)
    assert plan(5, 50) != plan(6, 50)
    assert plan(5, 50).tasks == 50
