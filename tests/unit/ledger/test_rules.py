"""Who may write what when, as a table."""

from __future__ import annotations

import pytest

from outrider.broker.subjects import LedgerAddress
from outrider.ledger.rules import Phase, refusal
from tests.unit.ledger.stories import BY_ORCHESTRATOR, ENTRY_TYPES, by_agent, entry, writer_of

TERMINAL = {"dead", "cancelled", "expired"}
MAY = {
    Phase.UNWRITTEN: {"blocked", "assigned"} | TERMINAL,
    Phase.BLOCKED: {"assigned"} | TERMINAL,
    Phase.LIVE: {"succeeded", "failed", "rejected", "lost", "timed_out"} | TERMINAL,
    Phase.BETWEEN: {"assigned"} | TERMINAL,
    Phase.CLOSED: set[str](),
}
EPOCH, ATTEMPT = 7, 2


def judge(phase: Phase, type_: str, where: LedgerAddress | None = None, **change: int | str) -> str | None:
    attempt = ATTEMPT + 1 if type_ == "assigned" else ATTEMPT
    fields = {"attempt": attempt, "epoch": EPOCH} | change
    given = entry(type_, **fields)  # type: ignore[arg-type]
    return refusal(phase, EPOCH, ATTEMPT, "a", where or writer_of(type_), given)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("type_", ENTRY_TYPES)
def test_each_phase_allows_its_entries_and_no_others(phase: Phase, type_: str) -> None:
    assert (judge(phase, type_) is None) == (type_ in MAY[phase])


@pytest.mark.parametrize("type_", sorted(MAY[Phase.LIVE]))
def test_agents_and_orchestrators_do_not_write_for_each_other(type_: str) -> None:
    wrong = BY_ORCHESTRATOR if type_ in ("succeeded", "failed") else by_agent()
    assert "may not write" in str(judge(Phase.LIVE, type_, wrong))


@pytest.mark.parametrize("type_", sorted(MAY[Phase.LIVE]))
@pytest.mark.parametrize("epoch", [0, EPOCH - 1, EPOCH + 1])
def test_an_old_or_invented_epoch_is_refused(type_: str, epoch: int) -> None:
    assert "is not the present epoch" in str(judge(Phase.LIVE, type_, epoch=epoch))


def test_an_attempt_follows_the_last_one() -> None:
    for attempt in (0, ATTEMPT, ATTEMPT + 2):
        assert "does not follow" in str(judge(Phase.BETWEEN, "assigned", attempt=attempt))


@pytest.mark.parametrize("type_", ["succeeded", "failed", "rejected", "lost", "timed_out"])
def test_the_end_of_an_attempt_names_the_live_one_and_its_agent(type_: str) -> None:
    assert "is not the live attempt" in str(judge(Phase.LIVE, type_, attempt=1))
    assert "belongs to a" in str(judge(Phase.LIVE, type_, writer_of(type_, "b"), agent_id="b"))


def test_nobody_speaks_for_another_agent() -> None:
    assert "may not speak for a" in str(judge(Phase.LIVE, "succeeded", by_agent("b")))


def test_an_entry_speaks_of_the_task_of_its_subject() -> None:
    assert "another task" in str(judge(Phase.LIVE, "succeeded", task_id="other"))
