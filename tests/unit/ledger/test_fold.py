"""The fold: what a task's entries add up to, whoever wrote them in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.broker.codec import dump, encode
from outrider.broker.errors import DecodeError
from outrider.broker.follower import Stored
from outrider.broker.messages import TaskEnvelope
from outrider.broker.states import TaskState
from outrider.broker.subjects import LedgerAddress
from outrider.ledger.entries import Closed, Entry, decode_entry, decode_member
from outrider.ledger.fold import Story
from outrider.ledger.reader import fold_stored
from outrider.ledger.rules import TERMINAL_TYPES, Phase
from tests.unit.ledger.stories import BY_ORCHESTRATOR, ENTRY_TYPES, as_map, by_agent, entry, writer_of


def told(*steps: tuple[int, str, int, int]) -> Story:
    """A story from (sequence, type, attempt, epoch); all by honest writers and agent a."""
    story = Story("t")
    for seq, type_, attempt, epoch in steps:
        story.apply(seq, writer_of(type_), entry(type_, attempt, epoch), stored_at=float(seq))
    return story


def test_a_task_that_succeeds() -> None:
    story = told((3, "assigned", 1, 0), (9, "succeeded", 1, 3))
    assert (story.state, story.epoch, story.expect, story.attempt) == (TaskState.SUCCEEDED, 9, 9, 1)
    assert story.ignored == []
    view = story.view()
    assert (view.state, view.agent, view.attempts, view.result) == ("succeeded", "a", 1, {"by": "a"})


def test_a_task_that_fails_and_is_tried_again() -> None:
    story = told((3, "assigned", 1, 0), (5, "failed", 1, 3))
    assert (story.state, story.charged, story.view().error) == (
        TaskState.BACKING_OFF,
        1,
        {"code": "handler", "message": "broke", "hint": ""},
    )
    story = told((3, "assigned", 1, 0), (5, "failed", 1, 3), (6, "assigned", 2, 5), (8, "succeeded", 2, 6))
    assert (story.state, story.attempt, story.epoch) == (TaskState.SUCCEEDED, 2, 8)


def test_what_never_started_is_not_charged() -> None:
    story = told((1, "assigned", 1, 0), (2, "rejected", 1, 1), (3, "assigned", 2, 2), (4, "rejected", 2, 3))
    assert (story.charged, story.uncharged_in_a_row) == (0, 2)
    story = told((1, "assigned", 1, 0), (2, "rejected", 1, 1), (3, "assigned", 2, 2), (4, "lost", 2, 3))
    assert (story.charged, story.uncharged_in_a_row) == (1, 0)


def test_a_task_that_is_cancelled_before_any_attempt_keeps_its_envelope() -> None:
    story = Story("t")
    envelope = TaskEnvelope("echo", {"x": 1}, "t", priority=2, submitted_at=1.0)
    story.apply(4, BY_ORCHESTRATOR, Closed("t", 0, "cancelled", "not wanted", envelope=envelope), 5.0)
    view = story.view()
    assert (view.state, view.kind, view.priority, view.sojourn_s) == ("cancelled", "echo", 2, 4.0)
    assert view.error == {"code": "cancelled", "message": "not wanted", "hint": ""}


def test_after_the_end_nothing_counts() -> None:
    story = told((3, "assigned", 1, 0), (9, "succeeded", 1, 3))
    before = story.view()
    for seq, type_ in enumerate(ENTRY_TYPES, start=10):
        assert story.apply(seq, writer_of(type_), entry(type_, 1, 9)) is not None
    assert story.view() == before
    assert len(story.ignored) == len(ENTRY_TYPES)


@pytest.mark.parametrize(
    "hostile",
    [
        (by_agent("b"), entry("succeeded", 1, 3, "b")),
        (by_agent("b"), entry("succeeded", 1, 3, "a")),
        (by_agent("a"), entry("succeeded", 1, 0)),
        (by_agent("a"), entry("succeeded", 2, 3)),
        (by_agent("a"), entry("cancelled", 1, 3)),
        (by_agent("a"), entry("assigned", 2, 3)),
        (by_agent("a"), entry("succeeded", 1, 3, task_id="other")),
        (BY_ORCHESTRATOR, entry("succeeded", 1, 3)),
        (BY_ORCHESTRATOR, entry("assigned", 2, 3)),
    ],
    ids=lambda pair: f"{pair[0].role} {pair[0].writer} writes {pair[1].type}",
)
def test_a_hostile_entry_moves_only_what_the_next_append_expects(
    hostile: tuple[LedgerAddress, Entry],
) -> None:
    story = told((3, "assigned", 1, 0))
    where, bad = hostile
    assert story.apply(5, where, bad) is not None
    assert (story.phase, story.epoch, story.expect, len(story.ignored)) == (Phase.LIVE, 3, 5, 1)
    assert story.apply(6, by_agent(), entry("succeeded", 1, 3)) is None
    assert story.is_terminal


def stored(seq: int, where: LedgerAddress, data: bytes) -> Stored:
    return Stored(f"f.ledger.{where.task_id}.{where.role}.{where.writer}", data, seq, float(seq), 0)


def test_what_cannot_be_read_is_passed_over() -> None:
    story = fold_stored(
        "t",
        [
            stored(3, BY_ORCHESTRATOR, encode(entry("assigned", 1, 0))),
            stored(4, by_agent(), b"\xc1 nonsense"),
            stored(5, by_agent(), dump(as_map(type=["succeeded"]))),
            stored(6, by_agent(), dump(as_map(type="surprise"))),
            stored(7, by_agent(), dump(as_map(v=2))),
            stored(8, by_agent(), dump(as_map(service_s=float("nan")))),
            stored(9, by_agent(), dump(as_map(result=1))),
        ],
    )
    assert (story.state, story.expect, len(story.ignored)) == (TaskState.SUCCEEDED, 9, 5)
    assert story.view().result == 1


def test_an_outcome_in_json_counts_like_any_other() -> None:
    data = b'{"type":"succeeded","task_id":"t","attempt":1,"agent_id":"a","epoch":3,"result":"by hand"}'
    assert decode_entry(data) == decode_entry(dump(as_map(result="by hand")))


@pytest.mark.parametrize("body", [None, 1, [], {}, {"type": None}, {"type": {}}, {"type": "joined"}])
def test_other_bodies_are_no_entries(body: object) -> None:
    with pytest.raises(DecodeError):
        decode_entry(dump(body))


def test_members_are_read_and_checked() -> None:
    assert decode_member(dump({"agent_id": "a", "type": "joined"})).agent_id == "a"
    with pytest.raises(DecodeError, match="promoted"):
        decode_member(dump({"agent_id": "a", "type": "promoted"}))


anybody = st.sampled_from(
    [BY_ORCHESTRATOR, LedgerAddress("t", "orchestrator", "o-2"), by_agent("a"), by_agent("b")]
)
any_entry = st.builds(
    entry,
    st.sampled_from(ENTRY_TYPES),
    st.integers(0, 3),
    st.integers(0, 12),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["t", "t", "t", "other"]),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(anybody, any_entry), max_size=12))
def test_whatever_is_written_there_is_at_most_one_end(
    written: list[tuple[LedgerAddress, Entry]],
) -> None:
    story, counted = Story("t"), []
    for seq, (where, given_entry) in enumerate(written, start=1):
        epoch = story.epoch
        if story.apply(seq, where, given_entry) is None:
            counted.append(given_entry)
            assert story.epoch == seq
        else:
            assert story.epoch == epoch
        assert story.expect == seq
    ends = [e for e in counted if e.type in TERMINAL_TYPES]
    assert len(ends) <= 1
    assert story.is_terminal == bool(ends)
    assert not ends or counted[-1] is ends[0]
    assert len(counted) + len(story.ignored) == len(written)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_honest_writers_that_race_leave_one_end(data: st.DataObject) -> None:
    """Two orchestrators and two agents who compare and set, each by what it last read."""
    log: list[tuple[LedgerAddress, Entry]] = []
    known = {where: Story("t") for where in (BY_ORCHESTRATOR, LedgerAddress("t", "orchestrator", "o-2"))}
    known |= {by_agent("a"): Story("t"), by_agent("b"): Story("t")}
    for _ in range(data.draw(st.integers(0, 25))):
        where = data.draw(st.sampled_from(sorted(known, key=str)))
        story = known[where]
        for seq, (who, old) in enumerate(log[: data.draw(st.integers(0, len(log)))], start=1):
            if seq > story.expect:
                story.apply(seq, who, old)
        type_ = data.draw(st.sampled_from(ENTRY_TYPES))
        attempt = story.attempt + (1 if type_ == "assigned" else 0)
        agent_id = where.writer if where.role == "agent" else story.agent_id or "a"
        if story.expect == len(log):  # the server takes only what expects the last sequence
            log.append((where, entry(type_, attempt, story.epoch, agent_id)))
    truth = Story("t")
    ends = [
        truth.apply(seq, *pair) is None and pair[1].type in TERMINAL_TYPES for seq, pair in enumerate(log, 1)
    ]
    assert sum(ends) <= 1
    for story in known.values():
        for seq, (who, old) in enumerate(log, start=1):
            if seq > story.expect:
                story.apply(seq, who, old)
        assert (story.state, story.epoch, story.attempt) == (truth.state, truth.epoch, truth.attempt)
