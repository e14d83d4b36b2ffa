"""Pages of tasks: the known ones from the projection, newest first, then those that wait in TASKS.

Waiting tasks are read page by page by sequence, so that a queue of millions costs no memory.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from outrider.broker.errors import InvalidTask
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects, check_name
from outrider.client import Client, ScheduleView
from outrider.client.reading import Reader, waiting_of
from outrider.client.scheduling import MOST_LOOKED_AT
from outrider.ui.projection import Projection
from outrider.ui.rows import Row, scheduled_object, waiting_object

MOST_A_PAGE = 200
_KNOWN, _WAITING, _SCHEDULED = "k", "w", "s"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks, how many, and from where on."""

    state: str | None = None
    kind: str | None = None
    limit: int = 50
    cursor: str | None = None

    def check(self) -> Wanted:
        """The wish itself when it can be served. Raises InvalidTask or InvalidName."""
        if self.state is not None and self.state not in set(TaskState):
            raise InvalidTask(f"there is no state {self.state[:40]!r}", hint="one of " + ", ".join(TaskState))
        if self.kind is not None:
            check_name(self.kind, "kind")
        if not 1 <= self.limit <= MOST_A_PAGE:
            raise InvalidTask(f"limit {self.limit} is not between 1 and {MOST_A_PAGE}")
        self.place()
        return self

    def place(self) -> tuple[str, int]:
        """The part of the list and the sequence that the cursor names. Raises InvalidTask."""
        if self.cursor is None and self.state == TaskState.SCHEDULED:
            return _SCHEDULED, 0
        if self.cursor is None:
            return (_WAITING, 1) if self.state == TaskState.QUEUED else (_KNOWN, 2**62)
        part, number = self.cursor[:1], self.cursor[1:]
        parts = (_SCHEDULED,) if self.state == TaskState.SCHEDULED else (_KNOWN, _WAITING)
        if part not in parts or not number.isdigit() or len(number) > 18:
            raise InvalidTask("the cursor is not one that this list gave")
        return part, int(number)

    def fits(self, row: Row) -> bool:
        return self.state in (None, row["state"]) and self.kind in (None, row["kind"])


async def task_page(
    wanted: Wanted, projection: Projection, reader: Reader, subjects: Subjects
) -> dict[str, Any]:
    """One page, and the cursor of the next one or None."""
    part, place = wanted.check().place()
    found: list[Row] = []
    if part == _KNOWN:
        rows = (row for row in projection.rows() if row["first_seq"] < place and wanted.fits(row))
        found = heapq.nlargest(wanted.limit, rows, key=lambda row: int(row["first_seq"]))
        if len(found) == wanted.limit:
            return {"tasks": found, "next": f"{_KNOWN}{found[-1]['first_seq']}"}
        if wanted.state is not None:
            return {"tasks": found, "next": None}
        place = 1
    waiting, after = await _waiting_page(wanted, place, wanted.limit - len(found), reader, subjects)
    known = {row["task_id"] for row in found}
    found += [
        row for row in waiting if row["task_id"] not in known and projection.row(row["task_id"]) is None
    ]
    return {"tasks": found, "next": after}


async def scheduled_page(wanted: Wanted, client: Client) -> dict[str, Any]:
    """One page of those that start later, the soonest first, and the cursor of the next one or None."""
    _, first = wanted.check().place()
    after = first + wanted.limit

    def fits(view: ScheduleView) -> bool:
        return view.cron is None and wanted.kind in (None, view.kind)

    views = await client.schedules(after + 1, fits) if first <= MOST_LOOKED_AT else []
    rows = [scheduled_object(view.as_task(), view.task) for view in views[first:after]]
    return {"tasks": rows, "next": f"{_SCHEDULED}{after}" if len(views) > after else None}


async def _waiting_page(
    wanted: Wanted, first: int, most: int, reader: Reader, subjects: Subjects
) -> tuple[list[Row], str | None]:
    subject_filter = f"{subjects.fleet}.task.{wanted.kind or '*'}.*.*"
    stored = await reader.tasks.all_of(subject_filter, first, most)
    tasks = [waiting for waiting in map(waiting_of, stored) if waiting is not None]
    rows = [waiting_object(waiting.envelope, waiting.stored_at) for waiting in tasks]
    return rows, f"{_WAITING}{stored[-1].seq + 1}" if len(stored) == most else None
