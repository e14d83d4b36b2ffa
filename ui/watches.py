"""Opens a watch for each task that somebody looks at, feeds it, and closes it when nobody does.

Only watched tasks cost a read of their story and a consumer on their chunks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from outrider.broker.background import Background
from outrider.broker.codec import decode
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, OutriderError, Refused
from outrider.broker.follower import Follower, Stored
from outrider.broker.messages import Chunk
from outrider.broker.subjects import Subjects, parse_chunk
from outrider.client import ScheduleView
from outrider.client.reading import Reader, records_of
from outrider.ledger.fold import Record
from outrider.ui.hub import Hub
from outrider.ui.rows import scheduled_object, waiting_object
from outrider.ui.watch import Watch

log = logging.getLogger(__name__)

MOST_WATCHES = 500
LINGER_S = 10.0
BATCH_S = 0.03
AGAIN_S = 1.0


class TooManyWatched(Refused):
    """More tasks are being watched than this bridge follows at once."""

    default_hint = "close some task panels, or read the task with GET /api/v1/tasks/TASK_ID"


@dataclass(slots=True)
class _Opened:
    watch: Watch
    following: asyncio.Task[None]
    viewers: int = 0
    follower: Follower | None = None

    def stop(self) -> None:
        """End the following; a follower wants to be told, not cancelled."""
        if self.follower is not None:
            self.follower.stop()
        else:
            self.following.cancel()


class Watches:
    """The open watches by task id. `run` must run beside."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        reader: Reader,
        hub: Hub,
        scheduled: Callable[[str], Awaitable[ScheduleView | None]],
    ) -> None:
        """`scheduled` finds a task that starts later."""
        self._scheduled = scheduled
        self._connection = connection
        self._subjects = subjects
        self._reader = reader
        self._hub = hub
        self._opened: dict[str, _Opened] = {}
        self._background: Background | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def task_ids(self) -> list[str]:
        return list(self._opened)

    async def run(self) -> None:
        """Follow what is watched until cancelled."""
        async with Background() as self._background:
            await asyncio.Event().wait()

    def stop(self) -> None:
        """Let all watches end."""
        for opened in self._opened.values():
            opened.stop()

    def open(self, task_id: str) -> Watch:
        """The watch of a task; `close` it again. Raises TooManyWatched."""
        opened = self._opened.get(task_id)
        if opened is None:
            if self._background is None or len(self._opened) >= MOST_WATCHES:
                raise TooManyWatched(f"{len(self._opened)} tasks are watched already")
            watch = Watch(task_id)
            opened = _Opened(watch, self._background.spawn(self._follow(watch)))
            self._opened[task_id] = opened
        opened.viewers += 1
        return opened.watch

    def close(self, task_id: str) -> None:
        """One viewer less. The watch lingers, so that a reloaded page finds it."""
        opened = self._opened[task_id]
        opened.viewers -= 1
        if not opened.viewers:
            self._loop.call_later(LINGER_S, self._drop_unwatched, task_id, opened)

    def _drop_unwatched(self, task_id: str, opened: _Opened) -> None:
        if not opened.viewers and self._opened.get(task_id) is opened:
            del self._opened[task_id]
            opened.stop()

    def assigned(self) -> list[str]:
        """Watched tasks whose live attempt is not known to run."""
        return [task_id for task_id, o in self._opened.items() if o.viewers and o.watch.is_assigned]

    def entry(self, record: Record) -> None:
        """A ledger entry was stored."""
        opened = self._opened.get(record.entry.task_id)
        if opened is not None:
            opened.watch.entry(record)
            self._wake_soon()

    def runs(self, task_id: str) -> None:
        """The live attempt of a task is known to run."""
        opened = self._opened.get(task_id)
        if opened is not None:
            opened.watch.runs()
            self._wake_soon()

    def _wake_soon(self) -> None:
        if self._waking is None:
            self._waking = self._loop.call_later(BATCH_S, self._wake)

    def _wake(self) -> None:
        self._waking = None
        self._hub.wake()

    async def _follow(self, watch: Watch) -> None:
        await self._load(watch)
        self._wake_soon()

        async def stored(message: Stored) -> None:
            try:
                agent_id, _, attempt = parse_chunk(message.subject)
                watch.chunk(agent_id, attempt, decode(Chunk, message.data))
            except DecodeError as error:
                log.debug("chunk of task %s cannot be read: %s", watch.task_id, error)
                return
            self._wake_soon()

        filters = [self._subjects.chunks_of(watch.task_id)]
        follower = Follower(self._connection, self._subjects.chunks_stream, filters, stored)
        opened = self._opened.get(watch.task_id)
        if opened is not None and opened.watch is watch:
            opened.follower = follower
            await follower.run()

    async def _load(self, watch: Watch) -> None:
        while True:
            try:
                # TASKS first: a task leaves it only after it stands in LEDGER.
                waiting = await self._reader.waiting(watch.task_id)
                stored = await self._reader.ledger.all_of(self._subjects.story(watch.task_id))
                later = None if waiting or stored else await self._scheduled(watch.task_id)
            except OutriderError as error:
                log.info("cannot read task %s: %s; trying again", watch.task_id, error)
                await asyncio.sleep(AGAIN_S)
                continue
            if later is not None:
                watch.load([], scheduled_object(later.as_task(), later.task))
            elif waiting is not None:
                row = waiting_object(waiting.envelope, waiting.stored_at)
                watch.load(records_of(stored), row | {"payload": waiting.envelope.payload})
            else:
                watch.load(records_of(stored), None)
            return
