"""Which tasks start later: a look at the names in LATER, and at nothing else of a schedule."""

from __future__ import annotations

from collections.abc import Sequence

from outrider.broker.codec import load
from outrider.broker.errors import NobodyAnswers, OutriderError
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.subjects import Subjects

TASKS_A_READ = 100


async def scheduled_among(reader: StreamReader, subjects: Subjects, task_ids: Sequence[str]) -> set[str]:
    """Those of these tasks that start later, or are due and not queued yet; cron schedules are no tasks."""
    found: set[str] = set()
    for first in range(0, len(task_ids), TASKS_A_READ):
        part = task_ids[first : first + TASKS_A_READ]
        names = [name for t in part for name in (subjects.later(t), subjects.due_anywhere(t))]
        try:
            stored = await reader.last_of(names)
        except NobodyAnswers:
            return set()
        found |= {one.subject.rpartition(".")[2] for one in stored if not _is_cron(one)}
    return found


def _is_cron(stored: Stored) -> bool:
    try:
        body = load(stored.data)
    except OutriderError:
        return False
    return isinstance(body, dict) and body.get("cron") is not None
