"""Brings outcomes into the ledger: appended by compare-and-set, settled when refused, kept until then.

Knows the wire and the spool, nothing of handlers. An append whose answer was lost is simply sent again:
the ledger refuses the second one, and `settle` then tells that the first was stored.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from outrider.agents.outcome import Encoded, encode_outcome, with_result_inside, without_result
from outrider.agents.spool import Finished, Spool
from outrider.broker.background import Background
from outrider.broker.codec import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, decode, encode, load
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError, PayloadTooLarge, WrongSequence, error_from_wire
from outrider.broker.messages import Renew, Settle, Settled, SpooledEpoch, Verdict
from outrider.broker.object_ref import ObjectRef
from outrider.broker.objects import ObjectStore
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.pipeline import Appender, Receipt, guard
from outrider.broker.subjects import Subjects

log = logging.getLogger(__name__)

HEADER_ROOM_BYTES = 4096
SETTLE_TIMEOUT_S = 3.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
WORKERS = 8
BEHIND = 1000
BEHIND_BYTES = 256 * 1024 * 1024
GONE = frozenset({"not_found"})
"""Error answers to settle that mean: the ledger does not wait for this outcome."""


class Recorder:
    """Records the outcomes of one agent."""

    def __init__(
        self,
        connection: Connection,
        appender: Appender,
        subjects: Subjects,
        agent_id: str,
        spool: Spool,
        objects: ObjectStore,
    ) -> None:
        self._connection = connection
        self._objects = objects
        self._appender = appender
        self._subjects = subjects
        self._agent_id = agent_id
        self._settle_subject = subjects.agent(agent_id, "settle")
        self._spool = spool
        self._again: asyncio.Queue[Finished] = asyncio.Queue()
        self._is_troubled = False
        self._emptied = asyncio.Event()

    @property
    def limit(self) -> int:
        """Largest entry in bytes that NATS takes."""
        return min(MAX_BODY_BYTES, self._connection.max_payload - HEADER_ROOM_BYTES)

    @property
    def is_behind(self) -> bool:
        """So much waits for the ledger that no more work should be taken."""
        return len(self._spool) >= BEHIND or self._spool.large_bytes >= BEHIND_BYTES

    def encode(self, outcome: Succeeded | Failed) -> Encoded:
        """The outcome as it travels: a large result beside its entry."""
        return encode_outcome(outcome, min(MAX_ENVELOPE_BYTES, self.limit), self._objects.largest)

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs whose outcome the ledger has not confirmed. Safe to read from another thread."""
        return tuple(finished.epoch for finished in self._spool.open_outcomes)

    @property
    def spooled(self) -> tuple[SpooledEpoch, ...]:
        return tuple(SpooledEpoch(f.task_id, f.epoch) for f in self._spool.open_outcomes)

    def recover(self) -> None:
        """Take up what an earlier process could not record."""
        for finished in self._spool.open_outcomes:
            self._again.put_nowait(finished)

    def keep(self, finished: Finished) -> None:
        """Put it on disk, before anything is sent."""
        self._spool.add(finished)

    def renew(self, request: Renew) -> bool:
        """Give an outcome that waits its new fencing token; whether there is one of this attempt.

        What is on its way under the old one is refused: the ledger moved on before this was sent.
        """
        finished = self._spool.find(request.task_id, request.attempt)
        if finished is not None and request.epoch > finished.epoch:
            finished.renumber(request.epoch, request.expect)
        return finished is not None

    def has(self, task_id: str, attempt: int) -> bool:
        """Whether an outcome of this attempt waits for the ledger."""
        return self._spool.find(task_id, attempt) is not None

    async def record(self, finished: Finished) -> None:
        """Send it; returns once it is on its way, and `run` sees to what goes wrong."""
        if finished.ref is not None and not await self._store_result(finished, finished.ref):
            self._again.put_nowait(finished)
            return

        def settle(receipt: Receipt) -> None:
            if receipt.error is None:
                self._done(finished)
            else:
                self._trouble(finished, receipt.error)

        await self._appender.send(
            self._subjects.ledger_agent(finished.task_id, self._agent_id),
            finished.data,
            settle,
            guard(finished.expect, self._subjects.story(finished.task_id)),
        )

    async def _store_result(self, finished: Finished, ref: ObjectRef) -> bool:
        """Put a large result where its entry says that it is; False when that must be tried again."""
        if finished.is_stored:
            return True
        body = self._spool.body_of(finished)
        try:
            await self._objects.put(ref, body)
        except OutriderError as error:
            return self._is_stored_otherwise(finished, body, error)
        finished.is_stored = True
        return True

    def _is_stored_otherwise(self, finished: Finished, body: bytes, error: OutriderError) -> bool:
        """Without the object store the result goes into the entry if it can, and fails if it never could."""
        if len(finished.data) + len(body) <= self.limit:
            finished.data = with_result_inside(finished.data, body)
        elif isinstance(error, PayloadTooLarge):
            finished.data = without_result(finished.data, error.message)
        else:
            self._complain(error)
            return False
        finished.is_stored = True
        return True

    def _done(self, finished: Finished) -> None:
        self._spool.done(finished)
        if not len(self._spool):
            self._emptied.set()

    def _trouble(self, finished: Finished, error: OutriderError) -> None:
        if not isinstance(error, WrongSequence):
            self._complain(error)
        self._again.put_nowait(finished)

    def _complain(self, error: OutriderError) -> None:
        if not self._is_troubled:
            self._is_troubled = True
            log.warning("outcomes wait on disk for the ledger: %s", error)

    async def run(self) -> None:
        """Settle and send again what the ledger did not confirm; runs until cancelled."""
        async with Background() as background:
            for _ in range(WORKERS):
                background.spawn(self._work())

    async def _work(self) -> None:
        while True:
            finished = await self._again.get()
            pause_s = SHORTEST_PAUSE_S
            while not await self._record_again(finished):
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            self._done(finished)
            if self._is_troubled and self._again.empty():
                self._is_troubled = False
                log.info("the ledger takes outcomes again")

    async def _record_again(self, finished: Finished) -> bool:
        """One more try; True when the matter is closed."""
        if not self._connection.is_connected:
            return False
        if finished.ref is not None and not await self._store_result(finished, finished.ref):
            return False
        try:
            await self._append(finished)
        except WrongSequence:
            return await self._settle(finished)
        except OutriderError:
            return False
        return True

    async def _append(self, finished: Finished) -> None:
        await self._appender.append(
            self._subjects.ledger_agent(finished.task_id, self._agent_id),
            finished.data,
            guard(finished.expect, self._subjects.story(finished.task_id)),
        )

    async def _settle(self, finished: Finished) -> bool:
        body = encode(Settle(finished.task_id, finished.epoch))
        try:
            answer = await self._connection.request(self._settle_subject, body, SETTLE_TIMEOUT_S)
            refusal = error_from_wire(load(answer.data))
            if refusal is not None:
                return self._is_gone(finished, refusal)
            settled = decode(Settled, answer.data)
        except OutriderError as error:
            log.debug("epoch %d is not settled yet: %s", finished.epoch, error)
            return False
        if settled.verdict is Verdict.RESEND:
            finished.renumber(settled.epoch, settled.expect)
            return False
        if settled.verdict is Verdict.SUPERSEDED:
            log.info("outcome of task %s came too late: superseded", finished.task_id)
        return True

    def _is_gone(self, finished: Finished, refusal: OutriderError) -> bool:
        if refusal.code not in GONE:
            return False
        log.warning("outcome of task %s is dropped: %s", finished.task_id, refusal)
        return True

    async def emptied(self, within_s: float) -> Sequence[SpooledEpoch]:
        """Wait until the ledger has everything; returns what is still open after `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                while len(self._spool):
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            pass
        return self.spooled
