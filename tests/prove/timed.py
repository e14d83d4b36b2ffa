"""Work that LATER and KEYS have a part in: delayed tasks, a cron schedule, names of which one task is open.

Submits it whatever happens, and notes what was promised. Judges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from outrider.broker.codec import load
from outrider.broker.errors import OutriderError, TaskNotFound
from outrider.broker.follower import StreamReader
from outrider.client import Client
from outrider.orchestrator.due import Fire
from tests.prove.book import Book
from tests.prove.passing import pass_time
from tests.prove.plan import KIND, MOST_ATTEMPTS
from tests.prove.work import LOOK_EVERY_S, TERMINAL_WITHIN_S, TIMEOUT_S

T = TypeVar("T")

EVERY_S = 2
CRON = f"*/{EVERY_S} * * * * *"
DELAYED = 15
SHORTEST_S, STEP_S = 0.5, 0.4
"""The delays of a batch: some end before the leader dies, some while there is none, some after."""
ASKERS = 5
NAMES = 2
UNIQUE_DELAY_S = 3.0


@dataclass(slots=True)
class Timed:
    """What was promised. Times are of this machine's clock."""

    schedule_id: str = ""
    first_tick: int = 0
    """The first fire that must come, in periods since 1970."""
    last_tick: int = 0
    due_at: dict[str, float] = field(default_factory=dict)
    """The earliest that each delayed task may start."""
    answers: dict[str, list[str]] = field(default_factory=dict)
    """By unique name: the task that each submit was told."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """From the death of a leader until all replicas are whole."""
    asked_again: Counter[str] = field(default_factory=Counter)
    """Submits without a confirmation, by the code of the error."""
    fires: dict[int, Fire] = field(default_factory=dict)
    """Those that count, as KEYS has them, by sequence in LATER."""
    left: list[str] = field(default_factory=list)
    """Due, still in LATER at the end, and not in LEDGER."""


class TimedWork:
    """Submits through one client."""

    def __init__(self, client: Client, book: Book) -> None:
        self._client = client
        self._book = book
        self.timed = Timed()

    async def begin(self) -> None:
        """Start the schedule."""
        payload = {"number": -1, "seconds": 0.1, "fails": 0}

        async def ask() -> str:
            made = await self._client.schedule(
                KIND, payload, cron=CRON, key="cron", timeout_s=TIMEOUT_S, max_attempts=MOST_ATTEMPTS
            )
            return made.schedule_id

        self.timed.schedule_id = await self._pursue(ask)
        self.timed.first_tick = int(time.time() // EVERY_S) + 1

    async def watch_fires(self) -> None:
        """Note the fires that KEYS has, before it forgets them; runs until cancelled."""
        while True:
            with contextlib.suppress(OutriderError):
                await self._note_fires()
            await pass_time(EVERY_S)

    async def _note_fires(self) -> None:
        subjects = self._client.subjects
        reader = StreamReader(self._client.connection, subjects.keys_stream)
        for stored in await reader.last_of([subjects.key(f"cron-{self.timed.schedule_id}")]):
            for seq, at, next_at in load(stored.data)["fires"]:
                self.timed.fires[seq] = Fire(seq, at, next_at)

    async def delay(self, label: str) -> None:
        """Have a batch of delayed tasks accepted, half of them by delay and half by instant."""
        async with asyncio.TaskGroup() as group:
            for number in range(DELAYED):
                group.create_task(self._delay(f"{label}-{number}", number))

    async def _delay(self, key: str, number: int) -> None:
        wait_s = SHORTEST_S + STEP_S * number
        asked_at = time.time()

        async def ask() -> str:
            if number % 2:
                return await self._submit(key, key=key, delay_s=wait_s)
            return await self._submit(key, key=key, run_at=time.time() + wait_s)

        task_id = await self._pursue(ask)
        self.timed.due_at[task_id] = asked_at + wait_s
        self._book.accepted.setdefault(task_id, time.time())

    async def claim(self, label: str) -> None:
        """Submit the same work several times at once under each of a few names."""
        async with asyncio.TaskGroup() as group:
            for name in (f"{label}-{number}" for number in range(NAMES)):
                for _ in range(ASKERS):
                    group.create_task(self._claim(name))

    async def _claim(self, name: str) -> None:
        async def ask() -> str:
            return await self._submit(name, unique_key=name, delay_s=UNIQUE_DELAY_S)

        task_id = await self._pursue(ask)
        self.timed.answers.setdefault(name, []).append(task_id)
        self._book.accepted.setdefault(task_id, time.time())

    async def _submit(self, name: str, **options: Any) -> str:
        payload = {"name": name, "seconds": 0.1, "fails": 0}
        task = await self._client.submit(
            KIND, payload, timeout_s=TIMEOUT_S, max_attempts=MOST_ATTEMPTS, **options
        )
        return task.task_id

    async def end(self, deadline: float) -> None:
        """Remove the schedule, and wait until LEDGER knows all that LATER fired."""
        self.timed.last_tick = int(time.time() // EVERY_S) - 1

        async def ask() -> None:
            with contextlib.suppress(TaskNotFound):
                await self._client.unschedule(self.timed.schedule_id)

        await self._pursue(ask)
        while True:
            with contextlib.suppress(OutriderError):
                self.timed.left = await self._left()
                await self._note_fires()
                if not self.timed.left:
                    break
            if time.time() > deadline:
                break
            await pass_time(LOOK_EVERY_S)

    async def _left(self) -> list[str]:
        subjects = self._client.subjects
        stored = await StreamReader(self._client.connection, subjects.later_stream).all_of(subjects.all_due)
        names = [(s.subject.rpartition(".")[2], s.seq) for s in stored]
        due = [f"{name}-{seq}" if name == self.timed.schedule_id else name for name, seq in names]
        return [task_id for task_id in due if (await self._client.reader.known(task_id)).is_nothing]

    async def _pursue(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, as a user would. Raises what it was refused with for too long."""
        deadline = time.time() + TERMINAL_WITHIN_S
        while True:
            try:
                return await ask()
            except OutriderError as error:
                self.timed.asked_again[error.code] += 1
                if time.time() > deadline:
                    raise
            await pass_time(LOOK_EVERY_S)
