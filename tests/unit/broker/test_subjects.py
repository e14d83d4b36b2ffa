"""Subjects are built and read the same way, and names that would break them never get in."""

from __future__ import annotations

import pytest

from outrider.broker.errors import DecodeError, InvalidName, InvalidTask
from outrider.broker.subjects import (
    LedgerAddress,
    Subjects,
    check_name,
    check_priority,
    parse_agent,
    parse_chunk,
    parse_ledger,
    parse_task,
)

S = Subjects("my-fleet")


def test_what_is_built_can_be_read() -> None:
    assert parse_task(S.task("echo", 3, "t-1")) == ("echo", 3, "t-1")
    assert parse_ledger(S.ledger_agent("t-1", "a-1")) == LedgerAddress("t-1", "agent", "a-1")
    assert parse_ledger(S.ledger_orchestrator("t-1", "o-1")) == LedgerAddress("t-1", "orchestrator", "o-1")
    assert parse_chunk(S.chunk("a-1", "t-1", 2)) == ("a-1", "t-1", 2)
    assert parse_agent(S.agent("a-1", "join")) == parse_agent(S.member("a-1")) == "a-1"


def test_live_entries_are_read_like_stored_ones() -> None:
    live = S.ledger_agent("t-1", "a-1").replace(".ledger.", ".live.")
    assert parse_ledger(live) == LedgerAddress("t-1", "agent", "a-1")


@pytest.mark.parametrize(
    "subject",
    ["", "x", "f.ledger.t.agent", "f.ledger.t.client.c", "f.other.t.agent.a", "f.ledger.t.agent.a.b"],
)
def test_other_subjects_are_no_ledger_entries(subject: str) -> None:
    with pytest.raises(DecodeError):
        parse_ledger(subject)


@pytest.mark.parametrize("priority", ["high", "", "-1", "1.5", "²", "٣"])
def test_a_number_in_a_subject_is_made_of_digits(priority: str) -> None:
    with pytest.raises(DecodeError):
        parse_task(f"f.task.echo.{priority}.t-1")
    with pytest.raises(DecodeError):
        parse_chunk(f"f.chunk.a-1.t-1.{priority}")


def test_streams_are_named_by_the_fleet() -> None:
    assert (S.tasks_stream, S.ledger_stream, S.chunks_stream) == (
        "MY_FLEET_TASKS",
        "MY_FLEET_LEDGER",
        "MY_FLEET_CHUNKS",
    )


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "$SRV", "é", "x" * 65, None, 5])
def test_a_bad_name_is_refused_and_shown(name: object) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(name, "agent_id")
    assert "agent_id" in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_fleet_needs_a_proper_name() -> None:
    with pytest.raises(InvalidName, match="fleet"):
        Subjects("my.fleet")


def test_priorities_are_zero_to_nine() -> None:
    assert [check_priority(n) for n in range(10)] == list(range(10))
    for wrong in (-1, 10, 1.0, "1", True, None):
        with pytest.raises(InvalidTask):
            check_priority(wrong)
