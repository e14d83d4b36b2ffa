"""What follows from an attempt that ended without success: for its task, and for the standing of its agent.

Pure; writes nothing.
"""

from __future__ import annotations

from outrider.broker.outcomes import Failed
from outrider.broker.states import ErrorClass
from outrider.ledger.entries import Ended
from outrider.ledger.fold import is_charged
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.retry import backoff_s


def why_hopeless(task: TaskRecord, limits: Thresholds) -> tuple[str, str] | None:
    """Why there is no further attempt, with the error class if it is not that of the last error."""
    story = task.story
    last = story.last
    if isinstance(last, Failed) and not last.error.retryable:
        return last.error.message, ""
    if story.pair is not None and story.pair.fatal is not None:
        return story.pair.fatal.message, story.pair.fatal.error_class.value
    if len(story.lost_on) >= limits.lost_before_poison:
        died = ", ".join(story.lost_on)
        return f"different agents died while they ran it: {died}", ErrorClass.POISON.value
    if story.charged >= task.max_attempts:
        return f"all {task.max_attempts} attempts are used", ""
    if story.uncharged_in_a_row >= limits.uncharged_before_dead:
        return f"{story.uncharged_in_a_row} assignments in a row came to nothing", ""
    return None


def delay_s(task: TaskRecord, limits: Thresholds) -> float:
    """How long the next attempt waits: what was not the task's fault costs no time, unless it repeats."""
    story = task.story
    last = story.last
    is_first = story.uncharged_in_a_row < limits.uncharged_before_backoff
    if isinstance(last, Ended) and (last.type == "lost" or is_first):
        return 0.0
    asked = last.error.retry_after_s if isinstance(last, Failed) else None
    if asked is None and story.uncharged_in_a_row > 0 and is_first:
        return 0.0
    nth = max(1, story.charged)
    return backoff_s(task.task_id, nth, limits.backoff_first_s, limits.backoff_cap_s, asked)


def judge_agent(m: Memory, entry: Failed | Ended) -> None:
    """Count it against the agent, which pauses when there is too much of it. Being stopped is no failure."""
    agent = m.agents.get(entry.agent_id)
    if agent is None:
        return
    if isinstance(entry, Failed) and is_charged(entry):
        agent.failures_in_a_row += 1
    if isinstance(entry, Ended) and not entry.charged:
        agent.uncharged_in_a_row += 1
    too_many = agent.failures_in_a_row >= m.thresholds.failures_before_cool_down
    if too_many or agent.uncharged_in_a_row >= m.thresholds.uncharged_before_backoff:
        m.agents.cool_down(agent, m.now + m.thresholds.cool_down_s)
