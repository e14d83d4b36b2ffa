"""Two live attempts of one task in memory: clocks, slots and epochs of the second beside those of the first.

Pure functions over Memory. Writes nothing to the ledger; whether to ask a second agent is `hedging.py`'s.
"""

from __future__ import annotations

from outrider.broker.hedge_rule import p95_s
from outrider.broker.states import AgentState
from outrider.ledger.fold import Story
from outrider.orchestrator.instructions import Assign, Renew
from outrider.orchestrator.model import Memory, SecondRun, TaskRecord
from outrider.orchestrator.transitions import Trigger


def reconcile(m: Memory, task: TaskRecord) -> None:
    """Bring what is known of two attempts in line with the story: one began, one ended, or both did."""
    second, other = task.second, task.story.other
    task.hedge_at = None
    if second is not None and second.begun == task.story.begun:
        _promote(task, second)
    if other is None:
        task.second = None
        return
    if second is None or second.begun != other.begun:
        timeout_s = (task.timeout_s or m.thresholds.default_timeout_s) + m.thresholds.timeout_grace_s
        until = m.now + timeout_s
        task.second = SecondRun(other.attempt, other.agent_id, other.begun, last_end=until, lease_until=until)
    m.agents.occupy(other.agent_id, task.task_id)


def _promote(task: TaskRecord, second: SecondRun) -> None:
    """The first ended: the second is the task's only attempt now."""
    task.lease_epoch, task.second = second.begun, None
    task.accepted_at, task.missing_in_beats = second.accepted_at, second.missing_in_beats
    task.resend_at, task.lease_until, task.last_end = second.resend_at, second.lease_until, second.last_end
    task.move(Trigger.HANDED_OVER)
    if task.accepted_at is not None:
        task.move(Trigger.ACCEPTED)


def run_on(task: TaskRecord, agent_id: str) -> TaskRecord | SecondRun | None:
    """The clocks of the task's live attempt on this agent: the record itself for the first."""
    if task.story.agent_id == agent_id:
        return task
    second = task.second
    return second if second is not None and second.agent_id == agent_id else None


def epochs_of(task: TaskRecord, run: TaskRecord | SecondRun) -> tuple[int, ...]:
    """Every epoch under which its agent may know the attempt."""
    return task.story.epochs_of(run.begun if isinstance(run, SecondRun) else task.story.begun)


def assignment(story: Story, agent_id: str, attempt: int, begun: int) -> Assign:
    """What an agent is told: always under the epoch that it was given first, so that it starts once.

    If that moved on, the outcome would be refused, not ignored: `renew` or `settle` brings the present one.
    """
    expect = story.expect if begun == story.epoch else begun
    return Assign(story.task_id, agent_id, attempt, begun, expect, story.envelope_seq)


def send_second(m: Memory, task: TaskRecord) -> None:
    """Tell the second agent, again after a while if it gives no sign."""
    second = task.second
    if second is not None:
        second.resend_at = m.now + m.thresholds.resend_assign_s
        m.out.append(assignment(task.story, second.agent_id, second.attempt, second.begun))


def renew(m: Memory, task: TaskRecord, agent_id: str | None = None) -> None:
    """Tell the live attempts their present epoch, or only that of one agent."""
    story, other = task.story, task.story.other
    lives = [(story.agent_id, story.attempt, story.begun)]
    if other is not None:
        lives.append((other.agent_id, other.attempt, other.begun))
    for name, attempt, begun in lives:
        if begun != story.epoch and agent_id in (None, name):
            m.out.append(Renew(task.task_id, name, attempt, story.epoch, story.expect))


def next_time(second: SecondRun) -> float:
    """When somebody must look at the second attempt again."""
    return second.lease_until if second.accepted_at is not None else min(second.resend_at, second.lease_until)


def is_second_waiting(task: TaskRecord) -> bool:
    """Whether the second agent gave no sign yet."""
    return task.second is not None and task.second.accepted_at is None


def is_gone(m: Memory, agent_id: str) -> bool:
    """Whether the agent was declared offline."""
    agent = m.agents.get(agent_id)
    return agent is not None and bool(agent.instance) and agent.state is AgentState.OFFLINE


def plan_hedge(m: Memory, task: TaskRecord) -> None:
    """The agent accepted an attempt that may be hedged: note when that is worth a thought."""
    assigned = task.story.assigned
    task.hedge_at = None
    if task.story.pair is not None or assigned is None or assigned.p90_s is None or task.accepted_at is None:
        return
    wait_s = max(m.thresholds.hedge_least_s, p95_s(assigned.p50_s or 0.0, assigned.p90_s))
    task.hedge_at = task.accepted_at + wait_s


def why_timed_out(run: TaskRecord | SecondRun) -> str:
    """For the ledger."""
    if run.lease_until < run.last_end:
        return "no sign of progress within its lease"
    return "the attempt ran past its timeout"
