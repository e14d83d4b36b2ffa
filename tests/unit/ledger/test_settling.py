"""What an agent is told about an outcome that it could not record."""

from __future__ import annotations

from outrider.broker.messages import Settled, Verdict
from outrider.ledger.fold import Story
from outrider.ledger.settling import outcome_epochs, settle
from tests.unit.ledger.stories import by_agent, entry, writer_of


def verdict(story: Story, agent_id: str, epoch: int) -> Settled:
    return settle(story, agent_id, epoch, outcome_epochs(list(story.outcomes)))


def told(*steps: tuple[int, str, int, int]) -> Story:
    story = Story("t")
    for seq, type_, attempt, epoch in steps:
        story.apply(seq, writer_of(type_), entry(type_, attempt, epoch))
    return story


def test_a_live_attempt_of_the_agent_is_sent_again_with_the_present_numbers() -> None:
    story = told((3, "assigned", 1, 0))
    story.apply(7, by_agent("b"), entry("succeeded", 1, 3, "b"))
    assert verdict(story, "a", 3) == Settled(Verdict.RESEND, 3, 7)


def test_an_outcome_that_stands_is_recorded() -> None:
    story = told((3, "assigned", 1, 0), (5, "failed", 1, 3), (6, "assigned", 2, 5), (8, "succeeded", 2, 6))
    assert verdict(story, "a", 3).verdict is Verdict.RECORDED
    assert verdict(story, "a", 6).verdict is Verdict.RECORDED


def test_an_attempt_that_others_ended_is_superseded() -> None:
    story = told((3, "assigned", 1, 0), (5, "lost", 1, 3))
    assert verdict(story, "a", 3).verdict is Verdict.SUPERSEDED
    story = told((3, "assigned", 1, 0), (5, "cancelled", 1, 3))
    assert verdict(story, "a", 3).verdict is Verdict.SUPERSEDED


def test_another_agents_outcome_is_not_ones_own() -> None:
    story = told((3, "assigned", 1, 0), (5, "succeeded", 1, 3))
    assert verdict(story, "b", 3).verdict is Verdict.SUPERSEDED


def test_an_unknown_task_or_epoch_is_superseded() -> None:
    assert verdict(Story("t"), "a", 3) == Settled(Verdict.SUPERSEDED, 0, 0)
    assert verdict(told((3, "assigned", 1, 0)), "a", 2).verdict is Verdict.SUPERSEDED
