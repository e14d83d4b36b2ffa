"""Learns what becomes of tasks: live messages for speed, the ledger itself for certainty.

A live message may be lost, late or forged, so the ledger's rules judge each one, and whoever waits
has the ledger read every few seconds. No timer and no asyncio task per task: one sweep serves all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from weakref import WeakValueDictionary

from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import parse_time
from outrider.broker.messages import TaskEnvelope
from outrider.broker.states import TERMINAL
from outrider.broker.subjects import Subjects, parse_ledger
from outrider.broker.views import TaskView
from outrider.client.reading import Reader, decode_sparingly
from outrider.ledger.fold import Story

log = logging.getLogger(__name__)

READ_EVERY_S = 5.0
READ_AGAIN_AFTER_S = 0.5
SWEEP_EVERY_S = 1.0
FEW = 32
"""Up to so many tasks have a subscription each; above, one subscription to all live entries serves all."""
MOST_READ_A_SWEEP = 2_000


class Watch:
    """One task as this client knows it."""

    __slots__ = ("__weakref__", "heard_at", "read_at", "story", "task_id", "waiters", "watchers")

    def __init__(self, task_id: str, now: float) -> None:
        self.task_id = task_id
        self.story = Story(task_id)
        self.heard_at = now
        self.read_at = 0.0
        self.waiters: list[asyncio.Future[None]] = []
        self.watchers: list[asyncio.Event] = []

    @property
    def is_over(self) -> bool:
        return self.story.is_terminal

    def know(self, envelope: TaskEnvelope) -> None:
        """The submitter's own copy, so that no entry's copy has to be decoded."""
        if self.story.envelope is None:
            self.story.envelope = envelope

    def take(self, seq: int, subject: str, data: bytes, stored_at: float) -> bool:
        """Fold one live entry; False when only the ledger itself can tell what it means."""
        if seq <= self.story.expect:
            return True
        try:
            why = self.story.apply(seq, parse_ledger(subject), decode_sparingly(data), stored_at)
        except DecodeError:
            return False
        self._tell()
        return why is None

    def replace(self, story: Story) -> None:
        """Believe what the ledger says, unless a live entry came after it was read."""
        if story.expect < self.story.expect and not self.story.ignored:
            return
        if story.envelope is None:
            story.envelope = self.story.envelope
        self.story = story
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher.set()
        if self.is_over:
            self.release(None)

    def release(self, error: Exception | None) -> None:
        """Let everybody go who waits for the end."""
        for waiter in self.waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        self.waiters.clear()


class Watcher:
    """All watches of one client. `run` must run beside; `give_up` tells everybody who waits."""

    def __init__(self, connection: Connection, subjects: Subjects, reader: Reader) -> None:
        self._connection = connection
        self._subjects = subjects
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._watches: WeakValueDictionary[str, Watch] = WeakValueDictionary()
        self._awaited: dict[str, Watch] = {}
        self._doubtful: dict[str, Watch] = {}
        self._singles: dict[str, Any] = {}
        self._wildcard: Any = None
        self._matched_at = 0.0
        self._next_sweep_at = 0.0
        self._changing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._gone: Exception | None = None
        connection.on_link(self._link_changed)

    # ---- what tasks ask

    def watch(self, task_id: str) -> Watch:
        """The one watch of this task."""
        found = self._watches.get(task_id)
        if found is None:
            found = self._watches[task_id] = Watch(task_id, self._loop.time())
        return found

    async def listen(self, task_ids: list[str]) -> None:
        """Hear of these tasks from now on; call it before they are published."""
        if self._wildcard is not None:
            self._matched_at = self._loop.time()
            return
        async with self._changing:
            if len(self._singles) + len(task_ids) > FEW:
                await self._listen_to_all()
            else:
                await self._listen_to_each(task_ids)

    async def _listen_to_all(self) -> None:
        self._matched_at = self._loop.time()
        if self._wildcard is None:
            self._wildcard = await self._connection.subscribe_directly(
                self._subjects.all_live, self._received
            )

    async def _listen_to_each(self, task_ids: list[str]) -> None:
        for task_id in task_ids:
            if task_id not in self._singles:
                live = self._subjects.live(task_id)
                self._singles[task_id] = await self._connection.subscribe_directly(live, self._received)

    async def until_over(self, watch: Watch) -> None:
        """Wait for the task's end. Raises what stopped this client from learning it."""
        while not watch.is_over:
            if self._gone is not None:
                raise self._gone
            waiter: asyncio.Future[None] = self._loop.create_future()
            watch.waiters.append(waiter)
            self._awaited[watch.task_id] = watch
            try:
                await waiter
            finally:
                with contextlib.suppress(ValueError):
                    watch.waiters.remove(waiter)
                if not watch.waiters:
                    self._awaited.pop(watch.task_id, None)

    async def each_over(self, watches: Sequence[Watch]) -> AsyncGenerator[Watch, None]:
        """Each watch once its task is over, in the order of their ends."""
        over: asyncio.Queue[Watch] = asyncio.Queue()
        waiters: dict[str, asyncio.Future[None]] = {}
        if self._gone is not None:
            raise self._gone
        for watch in watches:
            if watch.is_over:
                over.put_nowait(watch)
            else:
                waiters[watch.task_id] = self._awaits(watch, over)
        try:
            for _ in watches:
                watch = await over.get()
                if not watch.is_over and self._gone is not None:
                    raise self._gone
                yield watch
        finally:
            for watch in watches:
                waiter = waiters.get(watch.task_id)
                if waiter is not None and waiter in watch.waiters:
                    watch.waiters.remove(waiter)
                if not watch.waiters:
                    self._awaited.pop(watch.task_id, None)

    def _awaits(self, watch: Watch, over: asyncio.Queue[Watch]) -> asyncio.Future[None]:
        def done(waiter: asyncio.Future[None]) -> None:
            if not waiter.cancelled():
                waiter.exception()
            over.put_nowait(watch)

        waiter: asyncio.Future[None] = self._loop.create_future()
        waiter.add_done_callback(done)
        watch.waiters.append(waiter)
        self._awaited[watch.task_id] = watch
        return waiter

    async def states(self, watch: Watch) -> AsyncGenerator[TaskView, None]:
        """The task now and after each durable change, until it is over."""
        changed = asyncio.Event()
        # Whoever waits for the end has the ledger read; its own end must wake this one too.
        keeper = self._loop.create_task(self.until_over(watch))
        keeper.add_done_callback(lambda _: changed.set())
        watch.watchers.append(changed)
        try:
            while True:
                changed.clear()
                view = watch.story.view()
                yield view
                if view.state in TERMINAL:
                    return
                await changed.wait()
                if keeper.done():
                    await keeper
        finally:
            watch.watchers.remove(changed)
            keeper.cancel()

    async def refresh(self, watch: Watch) -> None:
        """Read the task's story from the ledger now."""
        watch.heard_at = watch.read_at = self._loop.time()
        watch.replace(await self._reader.story(watch.task_id))

    # ---- what arrives

    async def _received(self, message: Any) -> None:
        watch = self._watches.get(message.subject.split(".", 3)[2])
        if watch is None or watch.is_over:
            return
        self._matched_at = watch.heard_at = self._loop.time()
        headers = message.headers or {}
        seq, stored = headers.get("Nats-Sequence", ""), headers.get("Nats-Time-Stamp", "")
        if not seq.isdigit() or not stored:
            return
        if not watch.take(int(seq), message.subject, message.data, parse_time(stored)):
            self._doubtful[watch.task_id] = watch
            self._wake.set()
        if watch.story.is_terminal and watch.task_id in self._singles:
            self._wake.set()

    def _link_changed(self, is_up: bool) -> None:
        if is_up:
            self._doubtful.update(self._awaited)
            self._wake.set()

    # ---- the sweep

    async def run(self) -> None:
        """Read what is doubtful or silent, and drop subscriptions that nobody needs; until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()
            await self._sweep()

    async def _sweep(self) -> None:
        try:
            await self._read_doubtful()
            if self._loop.time() >= self._next_sweep_at:
                self._next_sweep_at = self._loop.time() + SWEEP_EVERY_S
                await self._read_where_newer(self._silent())
        except OutriderError as error:
            log.info("cannot read the ledger: %s", error)
            await asyncio.sleep(SWEEP_EVERY_S)
        await self._tidy()

    async def _read_doubtful(self) -> None:
        # A writer of nonsense must not make this client read the same story all the time.
        before = self._loop.time() - READ_AGAIN_AFTER_S
        for watch in [w for w in self._doubtful.values() if w.read_at <= before or w.is_over]:
            if not watch.is_over:
                await self.refresh(watch)
            self._doubtful.pop(watch.task_id, None)

    def _silent(self) -> list[Watch]:
        before = self._loop.time() - READ_EVERY_S
        silent = [watch for watch in self._awaited.values() if watch.heard_at <= before and not watch.is_over]
        return silent[:MOST_READ_A_SWEEP]

    async def _read_where_newer(self, watches: list[Watch]) -> None:
        if not watches or not self._connection.is_connected:
            return
        newest = await self._reader.newest([watch.task_id for watch in watches])
        now = self._loop.time()
        for watch in watches:
            watch.heard_at = now
            if newest.get(watch.task_id, 0) > watch.story.expect:
                await self.refresh(watch)

    async def _tidy(self) -> None:
        for task_id in [t for t in self._singles if (w := self._watches.get(t)) is None or w.is_over]:
            await self._drop(self._singles.pop(task_id, None))
        idle_s = self._loop.time() - self._matched_at
        if self._wildcard is not None and idle_s > READ_EVERY_S and not self._any_unfinished():
            wildcard, self._wildcard = self._wildcard, None
            await self._drop(wildcard)

    def _any_unfinished(self) -> bool:
        return any(not watch.is_over for watch in self._watches.values())

    async def _drop(self, subscription: Any) -> None:
        if subscription is not None and self._connection.is_connected:
            with contextlib.suppress(Exception):
                await self._connection.unsubscribe(subscription)

    def give_up(self, error: Exception) -> None:
        """Nothing will be learned any more: tell everybody who waits or will wait."""
        self._gone = error
        for watch in list(self._awaited.values()):
            watch.release(error)
