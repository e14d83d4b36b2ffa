"""Tasks whose time has come go from LATER to TASKS, each fire once.

A message is acked in LATER when TASKS has the task. A crash in between only repeats it under the same
task id, and the ledger decides. Knows nothing of routing: from TASKS on, a delayed task is like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from outrider.broker.codec import encode
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import DecodeError, InvalidName, InvalidTask, OutriderError, WrongSequence
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import Appender, Pulled, Puller, ack, give_back, guard
from outrider.broker.streams import ensure_due_consumer
from outrider.broker.subjects import Subjects
from outrider.orchestrator.keys import Keys
from outrider.orchestrator.scheduled import Scheduled, read_scheduled
from outrider.orchestrator.waiting import WaitingTasks

log = logging.getLogger(__name__)

AT_ONCE = 16
MOST_ON_THE_WAY = 128
ASK_EVERY_S = 1.0
TRY_AGAIN_S = 1.0
BEAT_S = 1.0
"""So often the leader of LATER says that it still knows our requests; 2.5 silent ones and we ask anew."""
EARLY_S = 0.5
"""A fire that much before its announced time is a repeat of the one before."""

REMEMBERED_FIRES = 8


class Fire(NamedTuple):
    """One message of a cron schedule: its place in LATER, when it was stored, and the next time announced."""

    seq: int
    at: float
    next_at: float


Spawn = Callable[[Coroutine[Any, Any, None]], object]
OnDebounced = Callable[[Scheduled, float], Coroutine[Any, Any, TaskEnvelope | None]]
"""Given a window's end and when it fired, the task to run now, or None for none yet."""


class DueTasks:
    """Moves what the server's schedules delivered."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        appender: Appender,
        keys: Keys,
        waiting: WaitingTasks,
        on_debounced: OnDebounced,
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._appender = appender
        self._keys = keys
        self._waiting = waiting
        self._on_debounced = on_debounced
        self._arrived: asyncio.Queue[Pulled] = asyncio.Queue()
        self._puller: Puller | None = None

    async def run(self, spawn: Spawn) -> None:
        """Move tasks until cancelled."""
        for _ in range(AT_ONCE):
            spawn(self._work())
        while True:
            try:
                await self._ask()
            except (ApiError, OutriderError) as error:
                log.warning("delayed tasks cannot be pulled yet: %s", error)
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self) -> None:
        if not self._connection.is_connected:
            return
        if self._puller is None:
            name = await ensure_due_consumer(self._connection, self._subjects)
            stream, arrived = self._subjects.later_stream, self._arrived.put
            puller = Puller(
                self._connection,
                stream,
                name,
                arrived,
                heartbeat_s=BEAT_S,
                is_direct=True,
                wants_headers=True,
            )
            await puller.start()
            self._puller = puller
        if self._puller.credit + self._arrived.qsize() < MOST_ON_THE_WAY // 2 or self._puller.is_stale:
            await self._puller.want(MOST_ON_THE_WAY - self._arrived.qsize())

    def reconnected(self) -> None:
        """The open requests died with the connection."""
        if self._puller is not None:
            self._puller.reconnected()

    async def _work(self) -> None:
        while True:
            pulled = await self._arrived.get()
            try:
                await self._move(pulled)
                await ack(self._connection, pulled)
                await self._ask()
            except (ApiError, OutriderError) as error:
                log.warning("%s is not moved to the queue yet: %s", pulled.subject, error)
                await self._later(pulled)

    async def _later(self, pulled: Pulled) -> None:
        try:
            await give_back(self._connection, pulled, TRY_AGAIN_S)
        except OutriderError as error:
            log.warning("%s will come again by itself: %s", pulled.subject, error)

    async def _move(self, pulled: Pulled) -> None:
        try:
            task = read_scheduled(pulled.data, pulled.seq)
            envelope = await self._to_run(task, pulled)
            if envelope is not None:
                await self._queue(envelope.check())
        except (DecodeError, InvalidName, InvalidTask) as error:
            schedule_id = pulled.subject.rpartition(".")[2]
            await self._waiting.bury(schedule_id, error.message)

    async def _to_run(self, task: Scheduled, pulled: Pulled) -> TaskEnvelope | None:
        if task.options.cron is not None:
            return await self._fire(task, pulled)
        if task.options.debounce_key is not None:
            return await self._on_debounced(task, pulled.stored_at)
        return task.envelope

    async def _fire(self, task: Scheduled, pulled: Pulled) -> TaskEnvelope:
        """The task of one fire; of a repeat, which a server that was killed makes, that of the fire before.

        Its message may be gone with the leader that made it, before its task was in TASKS.
        """
        name, which = f"cron-{task.envelope.task_id}", identity_of(task)
        this = Fire(pulled.seq, pulled.stored_at, _announced(pulled))
        while True:
            last = await self._keys.read(name)
            known = _fires(last.value) if last.value.get("schedule") == which else []
            if this.seq in (fire.seq for fire in known):
                break
            earlier = repeated(this, known)
            if earlier is not None:
                log.info("schedule %s fired twice for one time, once counts", task.envelope.task_id)
                this = earlier
                break
            newest = sorted([*known, this])[-REMEMBERED_FIRES:]
            try:
                await self._keys.change(name, {"schedule": which, "fires": [list(f) for f in newest]}, last)
                break
            except WrongSequence:
                continue
        return fire_of(task.envelope, this.seq, this.at)

    async def _queue(self, envelope: TaskEnvelope) -> None:
        """TASKS has the task when this returns, or had it before."""
        task_id = envelope.task_id
        subject = self._subjects.task(envelope.kind, envelope.priority, task_id)
        try:
            await self._appender.append(
                subject, encode(envelope), guard(0, self._subjects.task_anywhere(task_id))
            )
        except WrongSequence:
            log.debug("%s waits already", task_id)


def repeated(this: Fire, known: Iterable[Fire]) -> Fire | None:
    """The known fire for the same time, if there is one, also when fires are handled out of order."""
    return next((other for other in known if _are_of_one_time(*sorted((this, other)))), None)


def _are_of_one_time(first: Fire, then: Fire) -> bool:
    """A repeat just before the next time is told by what it announces: the same time once more."""
    announce_the_same = first.next_at > 0 and first.next_at == then.next_at
    return announce_the_same or then.at < first.next_at - EARLY_S


def _fires(value: dict[str, Any]) -> list[Fire]:
    return [Fire(int(seq), float(at), float(next_at)) for seq, at, next_at in value.get("fires", [])]


def fire_of(envelope: TaskEnvelope, seq: int, fired_at: float) -> TaskEnvelope:
    """The task of one fire of a schedule; a deadline counts from each fire."""
    deadline_at = envelope.deadline_at
    if deadline_at is not None:
        deadline_at = fired_at + deadline_at - envelope.submitted_at
    return replace(
        envelope,
        task_id=f"{envelope.task_id}-{seq}",
        submitted_at=fired_at,
        deadline_at=deadline_at,
        idempotency_key=None,
    )


def identity_of(task: Scheduled) -> str:
    """One schedule, told from a later one under the same id."""
    return f"{task.envelope.submitted_at}|{task.options.cron}|{task.options.time_zone}"


def _announced(pulled: Pulled) -> float:
    """When the server said that it will fire next."""
    text = (pulled.headers or {}).get("Nats-Schedule-Next", "")
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
