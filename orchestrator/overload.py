"""A ledger that is nearly full: nothing new begins, so that what has begun can end and its results fit.

Pure functions over Memory. Retention makes room; then everything goes on where it stood.
"""

from __future__ import annotations

from outrider.ledger.rules import Phase
from outrider.orchestrator.attempts import make_ready
from outrider.orchestrator.events import LedgerSeen
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.transitions import TaskPhase


def ledger_seen(m: Memory, event: LedgerSeen) -> None:
    """Stop first assignments while the ledger is fuller than the threshold; go on when it is not."""
    m.ledger_used = event.used
    m.is_ledger_full = event.used >= m.thresholds.ledger_full_at
    if not m.is_ledger_full and m.without_room:
        m.without_room, waiting = [], m.without_room
        for task_id in waiting:
            task = m.tasks.get(task_id)
            if task is not None and task.phase is TaskPhase.HELD:
                make_ready(m, task)


def parks(m: Memory, task: TaskRecord) -> bool:
    """Whether a task has to wait because the ledger does not know it yet and is nearly full."""
    if not m.is_ledger_full or task.story.phase is not Phase.UNWRITTEN:
        return False
    m.without_room.append(task.task_id)
    return True


def refusal(m: Memory) -> str | None:
    """Why no new task is taken now, or None."""
    if not m.is_ledger_full:
        return None
    full = m.thresholds.ledger_full_at
    return f"the ledger is {m.ledger_used:.0%} full, and from {full:.0%} on no new task is taken"
