"""Two attempts of one task at once: what the ledger allows, and what the fold makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.broker.codec import encode
from outrider.broker.messages import AttemptError, Verdict
from outrider.broker.outcomes import Failed
from outrider.broker.states import ErrorClass, TaskState
from outrider.ledger.entries import decode_entry
from outrider.ledger.fold import Story
from outrider.ledger.settling import outcome_epochs, settle
from tests.sim.law import Case
from tests.unit.ledger.stories import ENTRY_TYPES, entry, writer_of

Step = tuple[int, str, int, int, str]
"""Sequence, type, attempt, epoch, agent."""

HEDGED: tuple[Step, ...] = ((3, "assigned", 1, 0, "a"), (7, "hedged", 2, 3, "b"))


def told(*steps: Step) -> Story:
    story = Story("t")
    for seq, type_, attempt, epoch, agent_id in steps:
        story.apply(seq, writer_of(type_, agent_id), entry(type_, attempt, epoch, agent_id), float(seq))
    return story


def test_both_live_under_one_epoch() -> None:
    story = told(*HEDGED)
    assert (story.state, story.epoch, story.newest) == (TaskState.ASSIGNED, 7, 2)
    assert story.live_attempts == ((1, "a"), (2, "b"))
    view = story.view()
    assert (view.agent, view.attempts, view.state) == ("b", 2, "assigned")


@pytest.mark.parametrize(("attempt", "agent_id"), [(1, "a"), (2, "b")])
def test_whoever_succeeds_first_ends_it(attempt: int, agent_id: str) -> None:
    story = told(*HEDGED, (9, "succeeded", attempt, 7, agent_id), (11, "succeeded", 3 - attempt, 7, "ab"))
    view = story.view()
    assert (view.state, view.agent, view.attempts, view.result) == (
        "succeeded",
        agent_id,
        2,
        {"by": agent_id},
    )
    assert len(story.ignored) == 1
    assert story.pair is not None
    assert story.pair.other is not None
    assert story.pair.other.agent_id == ("b" if agent_id == "a" else "a")


@pytest.mark.parametrize(("attempt", "agent_id"), [(1, "a"), (2, "b")])
@pytest.mark.parametrize("type_", ["failed", "lost", "timed_out", "rejected"])
def test_the_end_of_one_leaves_the_other_and_is_charged_with_it(
    type_: str, attempt: int, agent_id: str
) -> None:
    other = "b" if agent_id == "a" else "a"
    story = told(*HEDGED, (9, type_, attempt, 7, agent_id))
    assert (story.is_live, story.epoch, story.charged) == (True, 9, 0)
    assert story.live_attempts == ((3 - attempt, other),)
    over = told(*HEDGED, (9, type_, attempt, 7, agent_id), (12, "rejected", 3 - attempt, 9, other))
    assert (over.state, over.charged, over.attempt) == (TaskState.BACKING_OFF, int(type_ != "rejected"), 2)
    assert over.uncharged_in_a_row == int(type_ == "rejected")
    won = told(*HEDGED, (9, type_, attempt, 7, agent_id), (12, "succeeded", 3 - attempt, 9, other))
    assert (won.view().agent, won.charged) == (other, 0)


def test_both_failing_is_one_try() -> None:
    story = told(*HEDGED, (9, "failed", 1, 7, "a"), (10, "lost", 2, 9, "b"))
    assert (story.charged, story.lost_on, len(story.errors)) == (1, ("b",), 1)
    story.apply(11, writer_of("assigned"), entry("assigned", 3, 10, "a"))
    assert (story.is_live, story.attempt, story.pair) == (True, 3, None)


def test_what_no_attempt_can_mend_is_remembered_while_the_other_lives() -> None:
    story = told(*HEDGED)
    error = AttemptError(ErrorClass.INVALID_INPUT, "not a picture", retryable=False)
    story.apply(9, writer_of("failed", "b"), Failed("t", 2, "b", 7, error))
    assert story.is_live
    assert story.pair is not None
    assert story.pair.fatal == error


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ((9, "hedged", 3, 7, "c"), "two attempts live already"),
        ((9, "assigned", 3, 7, "c"), "assigned is not allowed while live"),
        ((9, "succeeded", 1, 3, "a"), "epoch 3 is not the present epoch 7"),
        ((9, "succeeded", 2, 7, "a"), "the attempt belongs to b, not to a"),
        ((9, "lost", 1, 7, "b"), "the attempt belongs to a, not to b"),
    ],
)
def test_what_is_not_allowed_beside_two(step: Step, why: str) -> None:
    assert told(*HEDGED, step).ignored == [f"9: {why}"]


def test_a_second_attempt_is_another_agents_next_one() -> None:
    for attempt, agent_id, why in (
        (2, "a", "a runs the task already"),
        (3, "b", "attempt 3 does not follow 1"),
    ):
        story = told((3, "assigned", 1, 0, "a"), (5, "hedged", attempt, 3, agent_id))
        assert story.ignored == [f"5: {why}"]
    assert told((3, "hedged", 1, 0, "b")).ignored == ["3: hedged is not allowed while unwritten"]


def test_a_third_may_come_once_one_has_ended() -> None:
    story = told(*HEDGED, (9, "lost", 1, 7, "a"), (11, "hedged", 3, 9, "c"))
    assert story.live_attempts == ((2, "b"), (3, "c"))
    assert story.epochs_of(7) == (7, 9, 11)


def test_each_agent_may_settle_under_any_epoch_that_it_was_given() -> None:
    story = told(*HEDGED, (9, "failed", 2, 7, "b"))
    recorded = outcome_epochs(list(story.outcomes))
    verdicts = {epoch: settle(story, "a", epoch, recorded).verdict for epoch in (3, 7, 9)}
    assert set(verdicts.values()) == {Verdict.RESEND}
    assert settle(story, "b", 7, recorded).verdict is Verdict.RECORDED
    assert settle(story, "b", 3, recorded).verdict is Verdict.SUPERSEDED
    assert settle(story, "a", 5, recorded).verdict is Verdict.SUPERSEDED


def test_the_entry_travels() -> None:
    hedged = entry("hedged", 2, 3, "b")
    assert decode_entry(encode(hedged)) == hedged


@st.composite
def wishes(draw: st.DrawFn) -> list[tuple[str, int, int, str]]:
    """Types with small mistakes in attempt, epoch and agent: most of what is drawn fits."""
    off = st.sampled_from((0, 0, 0, 0, 0, 1, -1))
    one = st.tuples(st.sampled_from(ENTRY_TYPES), off, off, st.sampled_from("abc"))
    return draw(st.lists(one, max_size=25))


@settings(max_examples=400, deadline=None)
@given(wishes())
def test_fold_and_law_agree_on_every_ledger(steps: list[tuple[str, int, int, str]]) -> None:
    story, case = Story("t"), Case("t")
    for seq, (type_, off, epoch_off, agent_id) in enumerate(steps, 1):
        begins = type_ in ("assigned", "hedged")
        of_agent = [number for number, (name, _, _) in case.lives.items() if name == agent_id]
        attempt = (case.attempt + 1 if begins else of_agent[0] if of_agent else case.attempt) + off
        body: Any = entry(type_, attempt, case.epoch + epoch_off, agent_id)
        where = writer_of(type_, agent_id)
        why = case.judge(seq, where.role, where.writer, body, float(seq))
        assert bool(why) == bool(story.apply(seq, where, body)), (why, story)
        lives = {number: (name, begun) for number, (name, begun, _) in case.lives.items()}
        assert dict(story.live_attempts) == {number: name for number, (name, _) in lives.items()}
        assert len(lives) <= 2
        assert (story.phase.value, story.epoch, story.newest) == (case.state, case.epoch, case.attempt)
        assert (story.charged, story.uncharged_in_a_row) == (case.charged, case.uncharged_in_a_row)
        assert set(story.lost_on) == case.lost_on
        for name, begun in lives.values():
            assert story.is_held_by(name, begun)
            assert story.is_held_by(name, story.epoch)
    assert len(case.terminal) <= 1
