"""Looks through TASKS for what would wait for ever: deadlines that passed, and what makes no sense.

Reads by paged direct get at a bounded rate, beside everything else, each message about once; what is young
is left alone. Ends a task as every other does: the ledger first, then the message.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable

from outrider.broker.clock import Clock
from outrider.broker.codec import decode
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.messages import TaskEnvelope
from outrider.broker.subjects import NAME, Subjects, check_name, check_priority, parse_task
from outrider.ledger.entries import Closed
from outrider.ledger.reader import LedgerReader
from outrider.orchestrator.waiting import WaitingTasks

log = logging.getLogger(__name__)

A_PAGE = 64
MOST_REMEMBERED = 50_000
"""Deadlines kept in mind; those beyond are met by the next look through everything."""
LOOK_AGAIN_S = 600.0


class QueueSweep:
    """One sweep of one orchestrator."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        waiting: WaitingTasks,
        ledger: LedgerReader,
        clock: Clock,
        is_held: Callable[[str], bool],
    ) -> None:
        """`is_held` tells of tasks that the core has in hand and ends by itself."""
        self._connection = connection
        self._subjects = subjects
        self._waiting = waiting
        self._ledger = ledger
        self._clock = clock
        self._is_held = is_held
        self._reader = StreamReader(connection, subjects.tasks_stream)
        self._next_seq = 1
        self._began_at = clock.now()
        self._doubtful: dict[str, None] = {}
        """Tasks whose end was written without a receipt: whoever removes the message, we must hear of it."""
        self._deadlines: list[tuple[float, int]] = []
        """When, and which message."""

    async def run(self, every_s: float, per_s: float) -> None:
        """Sweep until cancelled, at most `per_s` messages a second; younger ones than `every_s` are left."""
        while True:
            await asyncio.sleep(every_s)
            try:
                if self._connection.is_connected:
                    await self._end_late_ones()
                    await self._look_on(every_s, A_PAGE / per_s)
            except (ApiError, OutriderError) as error:
                log.warning("the queue cannot be swept now: %s", error)

    async def _end_late_ones(self) -> None:
        for task_id in list(self._doubtful):
            story = await self._ledger.story(task_id)
            if story.epoch:
                self._waiting.found_over(story)
                self._doubtful.pop(task_id, None)
        now = self._clock.wall()
        while self._deadlines and self._deadlines[0][0] <= now:
            stored = await self._reader.at(self._deadlines[0][1])
            if stored is not None:
                await self._judge(stored)
            heapq.heappop(self._deadlines)

    async def _look_on(self, least_age_s: float, pause_s: float) -> None:
        """From where the last look ended to what is too young, or to the end."""
        self._begin_again_when_due()
        while True:
            page = await self._reader.all_of(self._subjects.all_tasks, self._next_seq, A_PAGE)
            for stored in page:
                if stored.stored_at > self._clock.wall() - least_age_s:
                    return
                await self._judge(stored)
                self._next_seq = stored.seq + 1
            if len(page) < A_PAGE:
                return
            await asyncio.sleep(pause_s)

    def _begin_again_when_due(self) -> None:
        if self._clock.now() - self._began_at > LOOK_AGAIN_S:
            self._began_at, self._next_seq = self._clock.now(), 1
            self._deadlines.clear()

    async def _judge(self, stored: Stored) -> None:
        try:
            envelope = read_waiting(stored)
        except OutriderError as error:
            await self._bury(stored, error.message)
            return
        deadline_at = envelope.deadline_at
        if deadline_at is None:
            return
        if deadline_at > self._clock.wall():
            if len(self._deadlines) < MOST_REMEMBERED:
                heapq.heappush(self._deadlines, (deadline_at, stored.seq))
            return
        why = "the deadline passed while it waited"
        await self._end(
            stored, Closed(envelope.task_id, 0, "expired", why, envelope=envelope, kind=envelope.kind)
        )

    async def _bury(self, stored: Stored, why: str) -> None:
        tokens = stored.subject.split(".")
        is_named = NAME.fullmatch(tokens[-1]) is not None
        task_id = tokens[-1] if is_named else f"malformed-{stored.seq}"
        kind = tokens[2] if NAME.fullmatch(tokens[2]) else ""
        reason = why if is_named else f"{why}; on {stored.subject[:200]}"
        await self._end(stored, Closed(task_id, 0, "dead", reason, "malformed", kind=kind))

    async def _end(self, stored: Stored, entry: Closed) -> None:
        """First the ledger, then the message; what the core has in hand is left to it."""
        if self._is_held(entry.task_id):
            return
        story = await self._ledger.story(entry.task_id)
        if story.epoch:
            self._waiting.found_over(story)
        else:
            self._doubtful[entry.task_id] = None
            is_recorded = await self._waiting.record(entry, story.expect, self._clock.wall())
            self._doubtful.pop(entry.task_id, None)
            if not is_recorded:
                return
        await self._waiting.remove(stored.seq)
        log.info("task %s is %s: %s", entry.task_id, entry.type, entry.reason)


def read_waiting(stored: Stored) -> TaskEnvelope:
    """The task in a message of TASKS. Raises DecodeError, InvalidName or InvalidTask."""
    kind, priority, task_id = parse_task(stored.subject)
    check_name(kind, "kind")
    check_name(task_id, "task_id")
    check_priority(priority)
    envelope = decode(TaskEnvelope, stored.data).check()
    if (envelope.task_id, envelope.kind, envelope.priority) != (task_id, kind, priority):
        raise DecodeError("the body speaks of another task, kind or priority than its subject")
    return envelope
