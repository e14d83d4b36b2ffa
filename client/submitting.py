"""Gets tasks into TASKS exactly once, whatever the link does meanwhile.

The task id is the key: a publish whose outcome is unknown is looked up and sent again under the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from outrider.broker.errors import (
    LEDGER_HINT,
    IdempotencyConflict,
    NatsUnavailable,
    NobodyAnswers,
    OutcomeUnknown,
    OutriderError,
    QueueFull,
    TaskNotFound,
    TimedOut,
    WrongSequence,
)
from outrider.broker.objects import ObjectStore
from outrider.broker.pipeline import Appender, Receipt, guard
from outrider.broker.subjects import Subjects
from outrider.client.new_task import Packed
from outrider.client.reading import Known, Reader

if TYPE_CHECKING:
    from outrider.client.task import Task

LONGEST_PAUSE_S = 1.0
LOOKED_UP_AT_ONCE = 64
LARGE_AT_ONCE = 4


class PartlySubmitted(OutriderError):
    """Some tasks of a batch were not accepted; `tasks` holds None for them, `errors` says why by position."""

    code = "partly_submitted"

    def __init__(self, message: str, tasks: list[Task | None], errors: dict[int, OutriderError]) -> None:
        super().__init__(message, hint="submit those again")
        self.tasks = tasks
        self.errors = errors


class Submitter:
    """Publishes packed tasks; `keep_trying_s` bounds how long an unsure one is pursued."""

    def __init__(
        self,
        subjects: Subjects,
        appender: Appender,
        reader: Reader,
        objects: ObjectStore,
        keep_trying_s: float,
        refuses: Callable[[], str | None],
    ) -> None:
        self._refuses = refuses
        self._subjects = subjects
        self._objects = objects
        self._appender = appender
        self._reader = reader
        self._keep_trying_s = keep_trying_s
        self._loop = asyncio.get_running_loop()

    async def refuse_unknown_parents(self, tasks: Sequence[Packed]) -> None:
        """Raises TaskNotFound when one waits for a task that neither exists nor is among these."""
        named = {task_id: None for p in tasks if p.envelope.after for task_id in p.envelope.after}
        if not named:
            return
        new = {p.task_id for p in tasks}
        unknown = await self._reader.unknown_among([task_id for task_id in named if task_id not in new])
        if unknown:
            raise TaskNotFound(
                f"after names task {unknown[0]!r}, which neither waits nor stands in the ledger",
                hint="submit what it waits for first",
            )

    async def submit(self, packed: Packed) -> Known | None:
        """Store the task. Returns what was known of it if it is not new.

        Raises IdempotencyConflict, QueueFull, or OutcomeUnknown when even repeating did not tell.
        """
        if packed.is_named:
            known = await self._look_up(packed)
            if known is not None:
                return known
        self._check_room()
        await self.store_payload(packed)
        return await self._settle(packed, await self._publish(packed))

    def _check_room(self) -> None:
        why = self._refuses()
        if why is not None:
            raise QueueFull(why, hint=LEDGER_HINT)

    async def store_payload(self, packed: Packed) -> None:
        """Put a large payload where the envelope will say that it is."""
        ref, deadline, pause_s = packed.envelope.payload_ref, self._loop.time() + self._keep_trying_s, 0.05
        while ref is not None and packed.body:
            try:
                await self._objects.put(ref, packed.body)
                return
            except (OutcomeUnknown, NatsUnavailable, NobodyAnswers, TimedOut):
                if self._loop.time() > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def submit_many(self, tasks: Sequence[Packed]) -> list[OutriderError | None]:
        """Store many tasks, pipelined; for each, None or why it was not stored."""
        fresh = [packed for packed in tasks if not packed.is_named and not packed.body]
        if fresh:
            self._check_room()
        published = await self._publish_all(fresh)
        receipts = {packed.task_id: receipt for packed, receipt in zip(fresh, published, strict=True)}
        outcomes: list[OutriderError | None] = [None] * len(tasks)
        at_once, large_at_once = asyncio.Semaphore(LOOKED_UP_AT_ONCE), asyncio.Semaphore(LARGE_AT_ONCE)

        async def pursue(number: int, packed: Packed, receipt: Receipt | None) -> None:
            async with large_at_once if packed.body else at_once:
                outcomes[number] = await self._pursue(packed, receipt)

        async with asyncio.TaskGroup() as group:
            for number, packed in enumerate(tasks):
                receipt = receipts.get(packed.task_id)
                if receipt is None or receipt.error is not None:
                    group.create_task(pursue(number, packed, receipt))
        return outcomes

    async def _pursue(self, packed: Packed, receipt: Receipt | None) -> OutriderError | None:
        try:
            await (self.submit(packed) if receipt is None else self._settle(packed, receipt))
        except OutriderError as error:
            return error
        return None

    async def _publish_all(self, tasks: Sequence[Packed]) -> list[Receipt]:
        receipts = [Receipt()] * len(tasks)
        left = len(tasks)
        all_here = self._loop.create_future()

        def received(number: int, receipt: Receipt) -> None:
            nonlocal left
            receipts[number] = receipt
            left -= 1
            if left == 0 and not all_here.done():
                all_here.set_result(None)

        for number, packed in enumerate(tasks):
            on_receipt = partial(received, number)
            await self._appender.send(self._subject(packed), packed.data, on_receipt, self._guard(packed))
        if tasks:
            await all_here
        return receipts

    async def _publish(self, packed: Packed) -> Receipt:
        return (await self._publish_all([packed]))[0]

    async def _settle(self, packed: Packed, receipt: Receipt) -> Known | None:
        deadline = self._loop.time() + self._keep_trying_s
        pause_s = 0.05
        while True:
            error = receipt.error
            if error is None:
                return await self._look_up(packed) if packed.is_named else None
            if not isinstance(error, (WrongSequence, OutcomeUnknown, NatsUnavailable)):
                raise error
            known = await self._look_up_if_possible(packed)
            if known is not None:
                return known
            if self._loop.time() > deadline:
                raise _unknown(packed, self._keep_trying_s, error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            receipt = await self._publish(packed)

    async def _look_up_if_possible(self, packed: Packed) -> Known | None:
        try:
            return await self._look_up(packed)
        except (TimedOut, NatsUnavailable, NobodyAnswers):
            return None

    async def _look_up(self, packed: Packed) -> Known | None:
        known = await self._reader.known(packed.task_id)
        if known.is_nothing:
            return None
        stored = known.envelope
        if stored is not None and not packed.envelope.is_same_work(stored):
            raise IdempotencyConflict(
                f"{_name(packed)} already stands for another task: {packed.task_id} of kind {stored.kind!r}"
            )
        return known

    def _subject(self, packed: Packed) -> str:
        return self._subjects.task(packed.envelope.kind, packed.envelope.priority, packed.task_id)

    def _guard(self, packed: Packed) -> dict[str, str]:
        return guard(0, self._subjects.task_anywhere(packed.task_id))


def _name(packed: Packed) -> str:
    key = packed.envelope.idempotency_key
    return f"id {packed.task_id!r}" if key is None else f"idempotency key {key!r}"


def _unknown(packed: Packed, after_s: float, error: OutriderError) -> OutriderError:
    return OutcomeUnknown(
        f"NATS did not confirm task {packed.task_id} in {after_s:g} s, it may be accepted or not: {error}",
        hint="with an idempotency key it is safe to submit it again",
    )
