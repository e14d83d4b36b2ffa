"""Brings into the projection what happens on NATS: the ledger, beats, the list of agents, and how much waits.

Reading disturbs nobody: the ledger is followed without acks and TASKS is only ever counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

from outrider.broker.background import Background
from outrider.broker.clock import Clock
from outrider.broker.codec import decode, dump
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import Follower, Stored
from outrider.broker.messages import Heartbeat
from outrider.broker.subjects import Subjects, parse_ledger, parse_task
from outrider.broker.views import AgentList
from outrider.client.reading import Reader, records_of
from outrider.ledger.entries import decode_entry, decode_member
from outrider.ledger.fold import Record
from outrider.ui.hub import FRAMES_PER_S, Hub
from outrider.ui.projection import Projection, Queue
from outrider.ui.watches import Watches

log = logging.getLogger(__name__)

HISTORY_ENTRIES = 15_000
"""How far back the ledger is read at the start; older tasks are found by their id."""
AGENTS_EVERY_S = 2.0
COUNT_EVERY_S = 1.0
AGAIN_S = 0.5
FEW_WAITING = 500
"""Up to so many waiting tasks are counted one by one; above, by consumer."""
MOST_PAGES = 4
MOST_EPOCHS = 1_000
"""Running attempts, named by beats, that no known task has and that are to be looked up."""
BREATHE_EVERY = 64


class Feeds:
    """Everything that the bridge reads. `run` ends only when cancelled or broken."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        reader: Reader,
        hub: Hub,
        watches: Watches,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._reader = reader
        self._hub = hub
        self._projection: Projection = hub.projection
        self._watches = watches
        self._clock = clock
        self._epochs: dict[int, None] = {}
        self._handled = 0
        self._follower: Follower | None = None
        self.lag = 0
        """Ledger entries stored and not folded yet."""
        self.caught_up = asyncio.Event()
        """Set once the ledger's past has been folded."""
        connection.on_link(lambda is_up: hub.link(is_up, clock.wall()))

    async def run(self) -> None:
        """Feed until cancelled."""
        await self._connection.subscribe(self._subjects.all_heartbeats, self._beat)
        async with Background() as background:
            background.spawn(self._follow_ledger())
            background.spawn(self._fetch_torn())
            background.spawn(self._list_agents())
            background.spawn(self._count_waiting())
            background.spawn(self._tick())

    def stop(self) -> None:
        """Let the follower end, before `run` is cancelled."""
        if self._follower is not None:
            self._follower.stop()

    async def _follow_ledger(self) -> None:
        state = await self._ledger_state()
        after = max(int(state["first_seq"]) - 1, int(state["last_seq"]) - HISTORY_ENTRIES, 0)
        filters = [self._subjects.all_ledger, self._subjects.all_members]
        follower = self._follower = Follower(
            self._connection, self._subjects.ledger_stream, filters, self._stored, after=after
        )
        async with Background() as background:
            background.spawn(follower.run())
            await follower.caught_up.wait()
            self._hub.backfill(self._clock.wall())
            self.caught_up.set()

    async def _ledger_state(self) -> dict[str, Any]:
        is_told = False
        while True:
            try:
                info = await self._connection.api(f"STREAM.INFO.{self._subjects.ledger_stream}")
                return dict(info["state"])
            except OutriderError as error:
                if not is_told:
                    log.warning("waiting for the ledger: %s", error)
                is_told = True
                await asyncio.sleep(AGAIN_S)

    async def _stored(self, message: Stored) -> None:
        self.lag = message.pending
        self._handled += 1
        if self._handled % BREATHE_EVERY == 0:
            await asyncio.sleep(0)
        try:
            if message.subject.startswith(f"{self._subjects.fleet}.member."):
                self._projection.member(message.seq, decode_member(message.data), message.stored_at)
                return
            parse_ledger(message.subject)
            record = Record(message.seq, message.subject, decode_entry(message.data), message.stored_at)
        except DecodeError as error:
            self._projection.tally.ignored += 1
            log.debug("entry %s at %s cannot be read: %s", message.seq, message.subject, error)
            return
        self._projection.entry(record)
        self._watches.entry(record)

    async def _beat(self, message: Any) -> None:
        try:
            beat = decode(Heartbeat, message.data)
        except OutriderError as error:
            log.debug("heartbeat on %s cannot be read: %s", message.subject, error)
            return
        unknown = self._projection.beat(beat, self._clock.wall())
        if self.caught_up.is_set() and len(self._epochs) < MOST_EPOCHS:
            self._epochs.update(dict.fromkeys(unknown))

    async def _fetch_torn(self) -> None:
        """Read whole the tasks that began before the part of the ledger that was followed."""
        await self.caught_up.wait()
        while True:
            await asyncio.sleep(AGAIN_S)
            try:
                while self._epochs:
                    await self._fetch_by_epoch(next(iter(self._epochs)))
                while self._projection.torn:
                    await self._fetch_story(next(iter(self._projection.torn)))
            except OutriderError as error:
                log.info("cannot read older tasks: %s; trying again", error)

    async def _fetch_by_epoch(self, epoch: int) -> None:
        stored = await self._reader.ledger.at(epoch)
        self._epochs.pop(epoch, None)
        records = records_of([stored] if stored is not None else [])
        if records:
            await self._fetch_story(records[0].entry.task_id)

    async def _fetch_story(self, task_id: str) -> None:
        stored = await self._reader.ledger.all_of(self._subjects.story(task_id))
        self._projection.torn.pop(task_id, None)
        self._projection.whole(task_id, records_of(stored))

    async def _list_agents(self) -> None:
        while True:
            try:
                message = await self._connection.request(self._subjects.agents, dump({}))
                self._projection.agents(decode(AgentList, message.data), self._clock.wall())
            except OutriderError as error:
                log.debug("no list of agents: %s", error)
            self._tell_who_runs()
            await asyncio.sleep(AGENTS_EVERY_S)

    def _tell_who_runs(self) -> None:
        for task_id in self._watches.task_ids:
            task = self._projection.live.get(task_id)
            if task is not None and task.is_running:
                self._watches.runs(task_id)

    async def _count_waiting(self) -> None:
        while True:
            try:
                self._projection.queued(*await self._waiting())
            except OutriderError as error:
                log.debug("cannot count what waits: %s", error)
            await asyncio.sleep(COUNT_EVERY_S)

    async def _waiting(self) -> tuple[tuple[Queue, ...], int]:
        stream = self._subjects.tasks_stream
        total = int((await self._connection.api(f"STREAM.INFO.{stream}"))["state"]["messages"])
        if not total:
            return (), 0
        counts = await (self._by_subject(stream) if total <= FEW_WAITING else self._by_consumer(stream))
        rest = total - sum(counts.values())
        if rest > 0:
            counts["", 9] = rest
        return tuple(Queue(kind, priority, n) for (kind, priority), n in sorted(counts.items()) if n), total

    async def _by_subject(self, stream: str) -> Counter[tuple[str, int]]:
        info = await self._connection.api(
            f"STREAM.INFO.{stream}", {"subjects_filter": self._subjects.all_tasks}
        )
        counts: Counter[tuple[str, int]] = Counter()
        for subject, count in (info["state"].get("subjects") or {}).items():
            counts[_queue_of(subject)] += count
        return counts

    async def _by_consumer(self, stream: str) -> Counter[tuple[str, int]]:
        counts: Counter[tuple[str, int]] = Counter()
        offset = 0
        for _ in range(MOST_PAGES):
            page = await self._connection.api(f"CONSUMER.LIST.{stream}", {"offset": offset})
            found = page.get("consumers") or []
            for consumer in found:
                queue = _queue_of(consumer["config"].get("filter_subject", ""))
                counts[queue] += consumer.get("num_pending", 0) + consumer.get("num_ack_pending", 0)
            offset += len(found)
            if not found or offset >= page.get("total", 0):
                break
        return counts

    async def _tick(self) -> None:
        await self.caught_up.wait()
        second = 0
        while True:
            now = self._clock.wall()
            if int(now) != second:
                second = int(now)
                self._hub.second(now)
            self._hub.tick()
            await asyncio.sleep(1 / FRAMES_PER_S)


def _queue_of(subject: str) -> tuple[str, int]:
    try:
        kind, priority, _ = parse_task(subject)
    except DecodeError:
        return "", 9
    return kind, priority
