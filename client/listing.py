"""Lists the newest tasks from the streams: those that wait, and those in the ledger, newest first.

Bounded: reads the end of the ledger backwards until enough tasks are found, never all of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from outrider.broker.connection import Connection
from outrider.broker.follower import Stored
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.broker.views import TaskView
from outrider.client.reading import Reader, waiting_of

DEFAULT_LIMIT = 50
WINDOW = 512
MOST_READ = 20_000


class Listing:
    """One look at the streams of a fleet."""

    def __init__(self, connection: Connection, subjects: Subjects, reader: Reader) -> None:
        self._connection = connection
        self._subjects = subjects
        self._reader = reader
        self._found: dict[str, TaskView] = {}

    async def newest(self, state: TaskState | None, limit: int, wall_at: float) -> list[TaskView]:
        """Up to `limit` tasks, newest first, of one state or of all."""
        if state in (None, TaskState.QUEUED):
            await self._add_waiting(limit, wall_at)
        if state not in (TaskState.QUEUED, TaskState.SCHEDULED):
            await self._add_from_ledger(state, limit)
        newest = sorted(self._found.values(), key=lambda view: view.submitted_at or 0.0, reverse=True)
        return newest[:limit]

    async def _add_waiting(self, limit: int, wall_at: float) -> None:
        stored = await self._reader.tasks.all_of(self._subjects.all_tasks, most=limit)
        for waiting in map(waiting_of, stored):
            if waiting is not None:
                self._found[waiting.envelope.task_id] = waiting.view(wall_at)

    async def _add_from_ledger(self, state: TaskState | None, limit: int) -> None:
        stream = self._subjects.ledger_stream
        info = (await self._connection.api(f"STREAM.INFO.{stream}"))["state"]
        last, first = int(info["last_seq"]), int(info["first_seq"])
        oldest_read = max(first, last - MOST_READ)
        seen: set[str] = set()
        while last >= oldest_read and len(self._found) < limit:
            start = max(first, last - WINDOW + 1)
            page = await self._reader.ledger.all_of(self._subjects.all_ledger, first=start, most=WINDOW)
            await self._add_stories(_newest_first(page, last, seen), state, limit)
            last = start - 1

    async def _add_stories(self, task_ids: list[str], state: TaskState | None, limit: int) -> None:
        for task_id in task_ids:
            if len(self._found) >= limit:
                return
            view = (await self._reader.story(task_id)).view()
            if state in (None, view.state):
                self._found[task_id] = view


def _newest_first(page: Iterable[Stored], last: int, seen: set[str]) -> list[str]:
    """Task ids of a page that were not met before, by their newest entry."""
    ids = []
    for stored in reversed([stored for stored in page if stored.seq <= last]):
        task_id = stored.subject.split(".", 3)[2]
        if task_id not in seen:
            seen.add(task_id)
            ids.append(task_id)
    return ids
