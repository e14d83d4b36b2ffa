"""What an agent shall do with an outcome that it could not record. Pure."""

from __future__ import annotations

from outrider.broker.messages import Settled, Verdict
from outrider.broker.outcomes import Failed, Succeeded
from outrider.ledger.fold import Story


def settle(story: Story, agent_id: str, epoch: int, attempt_epochs: dict[int, str]) -> Settled:
    """The verdict on `epoch` of `agent_id`.

    `attempt_epochs` maps the epoch of each recorded outcome to the agent that recorded it.
    """
    if attempt_epochs.get(epoch) == agent_id:
        return Settled(Verdict.RECORDED, story.epoch, story.expect)
    if story.is_held_by(agent_id, epoch):
        return Settled(Verdict.RESEND, story.epoch, story.expect)
    return Settled(Verdict.SUPERSEDED, story.epoch, story.expect)


def outcome_epochs(entries: list[object]) -> dict[int, str]:
    """Epoch to agent of every outcome that agents recorded in one task."""
    return {entry.epoch: entry.agent_id for entry in entries if isinstance(entry, (Succeeded, Failed))}
