"""What became of tasks that this orchestrator does not hold: a read of queue and ledger that disturbs nobody.

TASKS is always read before LEDGER: a task leaves the first only after it stands in the second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import StreamReader
from outrider.broker.later import scheduled_among
from outrider.broker.subjects import Subjects, parse_task
from outrider.ledger.reader import LedgerReader

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 2.0


class TaskLookup:
    """The state of tasks as far as the streams tell it."""

    def __init__(self, connection: Connection, subjects: Subjects, ledger: LedgerReader) -> None:
        self._subjects = subjects
        self._tasks = StreamReader(connection, subjects.tasks_stream)
        self._later = StreamReader(connection, subjects.later_stream)
        self.ledger = ledger

    async def states(self, task_ids: Sequence[str]) -> dict[str, str]:
        """A state for each task; an empty one when neither stream knows it. At most 100 at once."""
        filters = [self._subjects.task_anywhere(task_id) for task_id in task_ids]
        waiting = {_id_of(stored.subject): "queued" for stored in await self._tasks.last_of(filters)}
        stories = await self.ledger.stories(task_ids)
        written = {story.task_id: story.state.value for story in stories if story.epoch}
        found = waiting | written
        rest = [task_id for task_id in task_ids if task_id not in found]
        if rest:
            found |= dict.fromkeys(await scheduled_among(self._later, self._subjects, rest), "scheduled")
        return {task_id: found.get(task_id, "") for task_id in task_ids}

    async def states_for_certain(self, task_ids: Sequence[str]) -> dict[str, str]:
        """The same, tried again until it can be read."""
        delay_s = 0.05
        while True:
            try:
                return await self.states(task_ids)
            except OutriderError as error:
                log.warning("%d tasks that others wait for cannot be read yet: %s", len(task_ids), error)
                await asyncio.sleep(delay_s)
                delay_s = min(LONGEST_PAUSE_S, delay_s * 2)


def _id_of(subject: str) -> str:
    try:
        return parse_task(subject)[2]
    except DecodeError:
        return ""
