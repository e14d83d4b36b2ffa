"""What agents say to an assignment: accepted, rejected, or nobody there.

Pure functions over Memory. An answer names the epoch at which the attempt began.
"""

from __future__ import annotations

from outrider.broker.states import AgentState
from outrider.orchestrator import attempts, events, health
from outrider.orchestrator.instructions import Release
from outrider.orchestrator.model import Memory, SecondRun, TaskRecord
from outrider.orchestrator.transitions import LIVE, TaskPhase


def _waiting(m: Memory, task_id: str, epoch: int) -> tuple[TaskRecord | None, SecondRun | None]:
    """The task whose attempt waits for this answer, and the attempt if it is the second of two."""
    task = m.tasks.get(task_id)
    if task is None or task.phase not in LIVE:
        return None, None
    if task.story.begun == epoch:
        return (task, None) if task.phase is TaskPhase.ASSIGNED else (None, None)
    second = task.second
    if second is not None and second.begun == epoch and second.accepted_at is None:
        return task, second
    return None, None


def assign_answered(m: Memory, event: events.AssignAnswered) -> None:
    task, second = _waiting(m, event.task_id, event.epoch)
    if task is None:
        if event.accepted:
            health.accepted_in_vain(m, event.task_id, event.epoch)
        return
    agent = m.agents.get(task.story.agent_id if second is None else second.agent_id)
    if event.accepted:
        health.accepted(m, task, second)
        m.out.append(Release(event.task_id))
        attempts.set_timer(m, task)
        if agent is not None:
            agent.uncharged_in_a_row = 0
        return
    if not m.is_mine(task):
        return
    if agent is not None and event.reason == "draining":
        agent.state = AgentState.DRAINING
        m.agents.refresh(agent)
    why = event.reason or "the agent gave no reason"
    attempts.end_attempt(m, task, "rejected", why, charged=False, second=second)


def assign_unheard(m: Memory, event: events.AssignUnheard) -> None:
    task, second = _waiting(m, event.task_id, event.epoch)
    if task is None:
        return
    agent_id = task.story.agent_id if second is None else second.agent_id
    if m.is_mine(task):
        why = "nobody listens under the agent's name"
        attempts.end_attempt(m, task, "rejected", why, charged=False, second=second)
    health.unreachable(m, agent_id)
