"""How tasks count against limits while they run: slots, starts, tokens, and what a provider's refusal means.

Pure functions over Memory. A limit's slot is held as long as the task occupies an agent's, so it cannot leak.
"""

from __future__ import annotations

from outrider.broker.outcomes import Failed, Succeeded
from outrider.ledger.entries import Entry
from outrider.orchestrator.model import Memory, TaskRecord


def hold(m: Memory, task: TaskRecord) -> None:
    """The task occupies an agent from now on."""
    book = m.limits
    if not book.is_used:
        return
    buckets = book.places(task.kind, task.limit_key)
    if not buckets:
        return
    m.agents.on_vacated = m.slot_left
    has_begun = task.story.is_live and task.lease_epoch == task.story.begun
    book.hold(task.task_id, buckets, book.tokens_of(task.kind, task.facts), has_begun=has_begun)


def started(m: Memory, task: TaskRecord) -> None:
    """The ledger has the task's attempt."""
    at = _happened_at(m, task)
    for bucket in m.limits.holding.get(task.task_id, ()):
        bucket.started(task.task_id, at)


def settle(m: Memory, task: TaskRecord, entry: Entry) -> None:
    """The attempt is over: count what it took instead of what was predicted, before its slot is freed."""
    if isinstance(entry, Failed) and entry.is_refused:
        _hold_back(m, task, entry.error.retry_after_s or 0.0)
    if isinstance(entry, (Succeeded, Failed)):
        used = entry.usage.tokens_in + entry.usage.tokens_out
        if entry.usage.tokens_out:
            m.limits.learn(task.kind, entry.usage.tokens_out)
        if used or (isinstance(entry, Failed) and entry.is_refused):
            for bucket in m.limits.holding.get(task.task_id, ()):
                bucket.settle(task.task_id, used)
        if isinstance(entry, Succeeded):
            m.limits.answered(task.kind, task.limit_key, task.task_id)
    elif entry.type == "rejected":
        for bucket in m.limits.holding.get(task.task_id, ()):
            bucket.never_began(task.task_id)


def _hold_back(m: Memory, task: TaskRecord, retry_after_s: float) -> None:
    """Nothing more of this kind and key until its provider wants to be asked again."""
    until = _happened_at(m, task) + min(retry_after_s, m.thresholds.provider_wait_cap_s)
    if until > m.now:
        m.limits.hold_back(task.kind, task.limit_key, until)
        m.counters["held_back_by_provider"] += 1


def _happened_at(m: Memory, task: TaskRecord) -> float:
    """When the task's last entry counts from: by the ledger's time only if it is from before the start.

    Later the wall clock is not trusted: it may jump, and what came out of the past would count for nothing.
    """
    return m.now if m.is_recovered else min(m.now, task.story.last_at)


def recount(m: Memory) -> None:
    """Count all slots anew from the tasks that occupy agents."""
    occupants = [m.tasks[task_id] for agent in m.agents for task_id in agent.tasks if task_id in m.tasks]
    m.limits.recount((task.task_id, task.kind, task.limit_key, task.facts) for task in occupants)
    if m.limits.holding:
        m.agents.on_vacated = m.slot_left
