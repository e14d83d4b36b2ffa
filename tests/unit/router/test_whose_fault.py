"""Which failures in the ledger are held against an agent, and for how long."""

from typing import Any

import pytest

from outrider.broker.codec import dump
from outrider.broker.states import ErrorClass
from outrider.ledger.entries import Ended
from tests.unit.router.test_statistics import SUBJECTS, Ledger


def test_failing_fast_is_not_speed_and_is_forgiven_with_time() -> None:
    ledger = Ledger()
    for number in range(10):
        ledger.fail(f"t{number}", "a", ledger.assign(f"t{number}", "a"), 0.01)
    found = ledger.folded()
    assert found.pair("a", "chat").count == 0
    failures = found.agent("a").failures
    assert failures.share(ledger.now) > 0.8
    assert failures.share(ledger.now + 600) < 0.25
    assert failures.share(ledger.now + 6 * 3600) < 0.01


def test_a_lost_attempt_counts_as_failure_and_a_rejected_one_does_not() -> None:
    for kind, failing in (("lost", True), ("timed_out", True), ("rejected", False)):
        ledger = Ledger()
        epoch = ledger.assign("t1", "a")
        ledger.add(SUBJECTS.ledger_orchestrator("t1", "o1"), Ended("t1", 1, "a", epoch, kind))
        found = ledger.folded()
        assert (found.agent("a").failures.count > 0) is failing
        assert not found.running


@pytest.mark.parametrize(
    ("why", "seconds", "counts"),
    [
        (ErrorClass.PROVIDER, 0.1, True),
        (ErrorClass.HANDLER, 0.1, True),
        (ErrorClass.INVALID_INPUT, 0.1, False),
        (ErrorClass.TOO_LARGE, 0.1, False),
        (ErrorClass.MALFORMED, 0.1, False),
        (ErrorClass.POISON, 0.1, False),
        (ErrorClass.INTERRUPTED, 0.1, False),
        (ErrorClass.TIMEOUT, 1.0, False),
        (ErrorClass.TIMEOUT, 9.0, True),
    ],
)
def test_what_the_task_is_to_blame_for_is_not_held_against_the_agent(
    why: ErrorClass, seconds: float, counts: bool
) -> None:
    """A deadline that no agent could keep says nothing of the one that had the task."""
    ledger = Ledger()
    ledger.fail("t1", "a", ledger.assign("t1", "a", p90_s=4.0), seconds, why)
    found = ledger.folded()
    assert (found.agent("a").failures.count > 0) is counts
    assert not found.running


@pytest.mark.parametrize("why", [ErrorClass.INVALID_INPUT, ErrorClass.TIMEOUT, ErrorClass.INTERRUPTED])
def test_an_agent_whose_tasks_are_always_to_blame_is_to_blame(why: ErrorClass) -> None:
    ledger = Ledger()
    for number in range(10):
        ledger.fail(f"t{number}", "a", ledger.assign(f"t{number}", "a", p90_s=4.0), 0.1, why)
    failures = ledger.folded().agent("a").failures
    assert failures.share(ledger.now) > 0.7
    assert failures.is_probed(ledger.now)


def test_one_success_excuses_again() -> None:
    ledger = Ledger()
    for number in range(10):
        ledger.fail(f"f{number}", "a", ledger.assign(f"f{number}", "a"), 0.1, ErrorClass.INVALID_INPUT)
        ledger.run(f"t{number}", "a", 1.0)
    assert ledger.folded().agent("a").failures.count == 0


@pytest.mark.parametrize("error", [None, "text", {"error_class": ["unhashable"]}, {"error_class": None}])
def test_a_failure_without_a_readable_class_counts_and_ends_the_attempt(error: Any) -> None:
    ledger = Ledger()
    epoch = ledger.assign("t1", "a")
    body = {"type": "failed", "task_id": "t1", "attempt": 1, "agent_id": "a", "epoch": epoch, "error": error}
    ledger.entries.append((SUBJECTS.ledger_agent("t1", "a"), dump(body), 2, ledger.now + 1.0))
    found = ledger.folded()
    assert not found.running
    assert found.agent("a").failures.count == 1
