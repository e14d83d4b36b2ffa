"""Two attempts of one task at once: the one that succeeds teaches, and nothing is left behind."""

from __future__ import annotations

import pytest

from outrider.broker.routing import RouteReason
from outrider.ledger.entries import Closed, Ended, Hedged
from outrider.router.statistics import Statistics
from tests.unit.router.test_statistics import SUBJECTS, Ledger

BY = SUBJECTS.ledger_orchestrator("t", "o1")


def hedged() -> tuple[Ledger, int]:
    ledger = Ledger()
    first = ledger.assign("t", "a")
    entry = Hedged("t", 2, "b", "i", first, "chat", 5, RouteReason.MODEL, slots=2, p50_s=2.0)
    return ledger, ledger.add(BY, entry, after_s=9.0)


def left(statistics: Statistics) -> tuple[int, int]:
    return len(statistics.running), sum(map(len, statistics.by_agent.values()))


def test_both_count_as_load() -> None:
    ledger, _ = hedged()
    assert {agent: len(running) for agent, running in ledger.folded().by_agent.items()} == {"a": 1, "b": 1}


@pytest.mark.parametrize(("winner", "loser"), [("a", "b"), ("b", "a")])
def test_the_winner_teaches_and_the_loser_is_forgotten(winner: str, loser: str) -> None:
    ledger, epoch = hedged()
    ledger.succeed("t", winner, epoch, 1.5)
    statistics = ledger.folded()
    assert (statistics.agent(winner).count, statistics.agent(loser).count) == (1, 0)
    assert (left(statistics), statistics.ignored) == ((0, 0), 0)


@pytest.mark.parametrize(("failing", "other"), [("a", "b"), ("b", "a")])
def test_a_failure_of_one_leaves_the_other(failing: str, other: str) -> None:
    ledger, epoch = hedged()
    ledger.fail("t", failing, epoch, 1.0)
    assert left(ledger.folded()) == (1, 1)
    ledger.succeed("t", other, len(ledger.entries), 1.5)
    statistics = ledger.folded()
    assert (statistics.agent(other).count, left(statistics), statistics.ignored) == (1, (0, 0), 0)


@pytest.mark.parametrize("lost", ["a", "b"])
def test_one_that_is_lost_leaves_the_other(lost: str) -> None:
    ledger, epoch = hedged()
    seq = ledger.add(BY, Ended("t", 1 if lost == "a" else 2, lost, epoch, "lost"))
    other = "b" if lost == "a" else "a"
    assert list(ledger.folded().by_agent) == [other]
    ledger.succeed("t", other, seq, 1.5)
    assert ledger.folded().agent(other).count == 1


def test_half_a_pair_is_not_kept() -> None:
    """The window of what is read may begin between the two: nobody would tell when its epoch moves."""
    ledger, _ = hedged()
    del ledger.entries[0]
    assert left(ledger.folded()) == (0, 0)


def test_the_end_of_the_task_ends_both() -> None:
    ledger, epoch = hedged()
    ledger.add(BY, Closed("t", epoch, "cancelled"))
    assert left(ledger.folded()) == (0, 0)
