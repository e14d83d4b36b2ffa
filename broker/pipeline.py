"""The hot path: pipelined JetStream publishing and a pull loop that heals.

Why not nats-py's own calls: `js.publish` makes a future, a timer and a JSON parse a message, and `fetch` two
tasks and a `wait_for`; in a bare pipeline this file is 3.3 times faster (measured, docs/adr/0001).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from outrider.broker.connection import Connection
from outrider.broker.errors import (
    InvalidTask,
    NatsUnavailable,
    OutcomeUnknown,
    OutriderError,
    QueueFull,
    WrongSequence,
)
from outrider.broker.quick import quickly_made

log = logging.getLogger(__name__)

EXPECT = "Nats-Expected-Last-Subject-Sequence"
EXPECT_OVER = "Nats-Expected-Last-Subject-Sequence-Subject"
LOST_RACE = 10071
IN_FLIGHT = 10164
STREAM_FULL = frozenset({10077, 10023, 10047})
BAD_SCHEDULE = frozenset({10189, 10223})
SECOND = 1_000_000_000
DECIDED_AFTER_S = 0.05


class InFlight(WrongSequence):
    """Another write under the same guard is not replicated yet: it may come first, or come to nothing."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one publish: stored at `seq`, or why not."""

    seq: int = 0
    error: OutriderError | None = None


OnReceipt = Callable[[Receipt], None]


def guard(sequence: int, over: str) -> dict[str, str]:
    """Headers of a compare-and-set: the last sequence over the subject filter `over` must be `sequence`."""
    return {EXPECT: str(sequence), EXPECT_OVER: over}


def _receipt(data: bytes, headers: Mapping[str, str] | None) -> Receipt:
    at = data.find(b'"seq":')
    if at >= 0 and b'"error"' not in data:
        end = at + 6
        while 48 <= data[end] <= 57:
            end += 1
        return Receipt(int(data[at + 6 : end]))
    if not data:
        return Receipt(error=NatsUnavailable(f"no stream took the message: {dict(headers or {})}"))
    error = json.loads(data).get("error", {})
    code, text = int(error.get("err_code", 0)), str(error.get("description", "refused"))
    if code in (LOST_RACE, IN_FLIGHT):
        lost = WrongSequence if code == LOST_RACE else InFlight
        return Receipt(error=lost(f"another entry came first ({text})"))
    if code in STREAM_FULL:
        return Receipt(error=QueueFull(f"the stream refuses new messages: {text}"))
    if code in BAD_SCHEDULE:
        return Receipt(error=InvalidTask(f"NATS refuses the schedule: {text}"))
    return Receipt(error=OutriderError(f"JetStream refused the message: {text} ({code})"))


class Appender:
    """JetStream publishes with up to `window` unconfirmed; each ends in exactly one Receipt.

    A publish without a confirmation in `timeout_s` ends as OutcomeUnknown: it may or may not be stored.
    """

    def __init__(self, connection: Connection, window: int = 1024, timeout_s: float = 5.0) -> None:
        self._connection = connection
        self._window = window
        self._timeout_s = timeout_s
        self._inbox = connection.new_inbox()
        self._count = 0
        self._pending: dict[int, tuple[float, OnReceipt]] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._loop = asyncio.get_running_loop()

    @property
    def pending(self) -> int:
        return len(self._pending)

    async def start(self) -> None:
        await self._connection.subscribe_directly(self._inbox + ".*", self._confirmed)

    async def run(self) -> None:
        """Give up on silent publishes; runs until cancelled, and then gives up on all."""
        try:
            while True:
                await asyncio.sleep(self._timeout_s / 10)
                self._give_up(self._loop.time() - self._timeout_s)
        finally:
            self._give_up(self._loop.time() + 1)

    def _give_up(self, before: float) -> None:
        for number, (sent_at, _) in list(self._pending.items()):
            if sent_at > before:
                break
            self._finish(number, Receipt(error=OutcomeUnknown("the server did not confirm a write")))

    async def send(
        self, subject: str, data: bytes, on_receipt: OnReceipt, headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish; `on_receipt` is called later, from the event loop. Waits only while the window is full."""
        while len(self._pending) >= self._window:
            self._room.clear()
            await self._room.wait()
        self._count += 1
        number = self._count
        self._pending[number] = (self._loop.time(), on_receipt)
        try:
            await self._connection.publish(subject, data, f"{self._inbox}.{number}", headers)
        except OutriderError as error:
            self._finish(number, Receipt(error=error))

    async def append(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Publish and wait; returns the sequence. Raises what the Receipt holds.

        WrongSequence means that another entry is stored: while one is only in flight, this asks again.
        """
        deadline = self._loop.time() + self._timeout_s
        while True:
            try:
                return await self._append(subject, data, headers)
            except InFlight:
                if self._loop.time() > deadline:
                    raise OutcomeUnknown("an earlier write of the same was not confirmed") from None
            await asyncio.sleep(DECIDED_AFTER_S)

    async def _append(self, subject: str, data: bytes, headers: Mapping[str, str] | None) -> int:
        done: asyncio.Future[Receipt] = self._loop.create_future()

        def settle(receipt: Receipt) -> None:
            if not done.done():
                done.set_result(receipt)

        await self.send(subject, data, settle, headers)
        receipt = await done
        if receipt.error is not None:
            raise receipt.error
        return receipt.seq

    async def _confirmed(self, message: Any) -> None:
        number = int(message.subject.rpartition(".")[2])
        if number in self._pending:
            self._finish(number, _receipt(message.data, message.headers))

    def _finish(self, number: int, receipt: Receipt) -> None:
        _, on_receipt = self._pending.pop(number)
        self._room.set()
        on_receipt(receipt)


@dataclass(slots=True)
class Pulled:
    """One message of a work queue, to be acked, held or given back."""

    subject: str
    data: bytes
    ack_to: str
    headers: Mapping[str, str] | None = None
    """Only where the puller was asked for them: reading them costs time."""

    @property
    def seq(self) -> int:
        """Its place in the stream."""
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time ns>.<pending>
        return int(self.ack_to.split(".")[-4])

    @property
    def stored_at(self) -> float:
        """When the server stored it, on its clock."""
        return int(self.ack_to.split(".")[-2]) / 1e9


class Puller:
    """Keeps a bounded number of messages of one durable consumer on their way.

    The owner states how many more it wants with `want`; requests lost with a connection or a stream
    leader are asked for again. With `is_direct` the callback must not wait for what comes from NATS.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        on_pulled: Callable[[Pulled], Awaitable[None]],
        expires_s: float = 30.0,
        heartbeat_s: float = 5.0,
        *,
        is_direct: bool = False,
        wants_headers: bool = False,
    ) -> None:
        self._connection = connection
        self._wants_headers = wants_headers
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._on_pulled = on_pulled
        self._is_direct = is_direct
        self._request = {"expires": int(expires_s * SECOND), "idle_heartbeat": int(heartbeat_s * SECOND)}
        self._silence_s = 2.5 * heartbeat_s
        self._inbox = connection.new_inbox()
        self._loop = asyncio.get_running_loop()
        self._heard_at = 0.0
        self._credit = 0
        self._subscription: Any = None

    @property
    def credit(self) -> int:
        """How many messages are asked for and not here yet."""
        return self._credit

    async def start(self) -> None:
        subscribe = self._connection.subscribe_directly if self._is_direct else self._connection.subscribe
        self._subscription = await subscribe(self._inbox, self._received)

    async def stop(self) -> None:
        """Forget the open requests; the server ends them by their expiry."""
        self._credit = 0
        if self._subscription is not None:
            await self._connection.unsubscribe(self._subscription)

    def reconnected(self) -> None:
        """The open requests died with the connection."""
        self._credit = 0

    @property
    def is_stale(self) -> bool:
        """Whether open requests were silent for so long that they must have died."""
        return self._credit > 0 and self._loop.time() - self._heard_at > self._silence_s

    async def want(self, count: int) -> None:
        """Ask for more until `count` messages are on their way."""
        if self.is_stale:
            self._credit = 0
        missing = count - self._credit
        if missing <= 0 or not self._connection.is_connected:
            return
        self._heard_at = self._loop.time()
        self._credit += missing
        body = json.dumps(self._request | {"batch": missing}).encode()
        await self._connection.publish(self._subject, body, self._inbox)

    async def _received(self, message: Any) -> None:
        self._heard_at = self._loop.time()
        if message.reply.startswith("$JS.ACK"):
            self._credit = max(0, self._credit - 1)
            headers = message.headers if self._wants_headers else None
            await self._on_pulled(Pulled(message.subject, message.data, message.reply, headers))
            return
        headers = message.headers or {}
        if headers.get("Status") != "100":
            unfilled = int(headers.get("Nats-Pending-Messages") or self._credit)
            self._credit = max(0, self._credit - unfilled)


async def ack(connection: Connection, pulled: Pulled) -> None:
    """Done: the server removes the message from the work queue."""
    await connection.publish(pulled.ack_to, b"+ACK")


async def hold(connection: Connection, pulled: Pulled) -> None:
    """Still here: restarts the consumer's ack_wait."""
    await connection.publish(pulled.ack_to, b"+WPI")


async def give_back(connection: Connection, pulled: Pulled, delay_s: float = 0.0) -> None:
    """Deliver it again, to anybody, after `delay_s`."""
    body = b"-NAK" if delay_s <= 0 else b"-NAK " + json.dumps({"delay": int(delay_s * SECOND)}).encode()
    await connection.publish(pulled.ack_to, body)
