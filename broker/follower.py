"""Follows a stream in order and without acks, from any sequence, across reconnects and restarts.

The position is the reader's own: it starts again after the last message that it handled.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from outrider.broker.connection import Connection
from outrider.broker.errors import NobodyAnswers, OutriderError, TimedOut
from outrider.broker.quick import quickly_made

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
HEARTBEAT_S = 1.0


@quickly_made
@dataclass(frozen=True, slots=True)
class Stored:
    """A message with its place in the stream; `stored_at` is the server's clock, `pending` what follows."""

    subject: str
    data: bytes
    seq: int
    stored_at: float
    pending: int


OnStored = Callable[[Stored], Awaitable[None]]


def parse_time(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time with up to nine digits."""
    head, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(head + "+00:00").timestamp() + (float(f"0.{rest}") if rest else 0.0)


class Follower:
    """Calls back for each stored message that matches, in order, exactly once per process.

    With `is_direct` the callback must not wait for anything that comes from NATS.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        filters: list[str],
        on_stored: OnStored,
        after: int = 0,
        *,
        is_direct: bool = False,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._filters = filters
        self._on_stored = on_stored
        self.last_seq = after
        """Sequence of the last handled message; the next run starts after it."""
        self.caught_up = asyncio.Event()
        """Set once all that was stored before the start has been handled."""
        self._again = asyncio.Event()
        self._is_stopped = False
        self._is_direct = is_direct
        self._consumer_seq = 0
        self._heard_at = 0.0
        self._inbox = ""
        self._problem: Exception | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Follow until stopped or cancelled; nothing is passed over.

        Raises what the callback raised; after an OutriderError the message is tried again.
        """
        delay_s = 0.1
        while not self._is_stopped:
            try:
                await self._follow_once()
                delay_s = 0.1
            except OutriderError as error:
                log.warning("cannot follow %s: %s; trying again", self._stream, error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)

    def stop(self) -> None:
        """Let `run` return soon; safer than cancelling, which `wait_for` may swallow before Python 3.12."""
        self._is_stopped = True
        self._again.set()

    async def _follow_once(self) -> None:
        self._again.clear()
        self._problem = None
        self._consumer_seq = 0
        self._inbox = self._connection.new_inbox()
        subscribe = self._connection.subscribe_directly if self._is_direct else self._connection.subscribe
        subscription = await subscribe(self._inbox, partial(self._received, self._inbox))
        self._connection.on_link(self._link_changed)
        name = ""
        try:
            await self._connection.settle()
            info = await self._connection.api(f"CONSUMER.CREATE.{self._stream}", self._config())
            name = str(info["name"])
            if info.get("num_pending", 0) == 0 and info.get("delivered", {}).get("consumer_seq", 0) == 0:
                self.caught_up.set()
            await self._until_broken()
        finally:
            self._connection.off_link(self._link_changed)
            await self._connection.unsubscribe(subscription)
            if name and self._connection.is_connected:
                await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}")
        if self._problem is not None:
            raise self._problem

    def _link_changed(self, is_up: bool) -> None:
        if is_up:
            self._again.set()

    async def _until_broken(self) -> None:
        self._heard_at = self._loop.time()
        while not self._again.is_set() and not self._is_stopped:
            try:
                await asyncio.wait_for(self._again.wait(), HEARTBEAT_S)
            except TimeoutError:
                if self._loop.time() - self._heard_at > 3 * HEARTBEAT_S and self._connection.is_connected:
                    return

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "deliver_subject": self._inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_S * SECOND),
            "inactive_threshold": 10 * SECOND,
            "mem_storage": True,
            "num_replicas": 1,
            "replay_policy": "instant",
            "filter_subjects": self._filters,
        }
        if self.last_seq:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self.last_seq + 1}
        else:
            config |= {"deliver_policy": "all"}
        return {"stream_name": self._stream, "config": config}

    async def _received(self, inbox: str, message: Any) -> None:
        if inbox != self._inbox or self._problem is not None:
            return
        self._heard_at = self._loop.time()
        # Not by its headers: those of a stored message are its writer's.
        if message.subject == inbox:
            await self._answer_control(message)
            return
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time ns>.<pending>
        tokens = message.reply.split(".")
        if len(tokens) < 9:
            return
        seq, consumer_seq, pending = int(tokens[-4]), int(tokens[-3]), int(tokens[-1])
        if consumer_seq != self._consumer_seq + 1:
            self._again.set()
            return
        self._consumer_seq = consumer_seq
        if seq > self.last_seq:
            await self._handle(Stored(message.subject, message.data, seq, int(tokens[-2]) / 1e9, pending))
        if pending == 0 and self._problem is None:
            self.caught_up.set()

    async def _handle(self, stored: Stored) -> None:
        try:
            await self._on_stored(stored)
        except Exception as error:  # noqa: BLE001 - raised again by run, where somebody sees it
            self._problem = error
            self._again.set()
        else:
            self.last_seq = stored.seq

    async def _answer_control(self, message: Any) -> None:
        stalled = (message.headers or {}).get("Nats-Consumer-Stalled")
        if stalled or message.reply:
            await self._connection.publish(stalled or message.reply)


class StreamReader:
    """Reads stored messages by sequence or subject, without a consumer, so that reading disturbs nobody."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    async def all_of(self, subject_filter: str, first: int = 1, most: int = 10_000) -> list[Stored]:
        """Up to `most` messages that match, in order, from sequence `first`."""
        found: list[Stored] = []
        while len(found) < most:
            batch = min(256, most - len(found))
            page = await self._get({"batch": batch, "seq": first, "next_by_subj": subject_filter})
            found += page
            if len(page) < batch:
                break
            first = page[-1].seq + 1
        return found

    async def last_of(self, subject_filters: list[str]) -> list[Stored]:
        """The last message of each subject that matches, in stream order."""
        return sorted(await self._get({"multi_last": subject_filters}), key=lambda stored: stored.seq)

    async def at(self, seq: int) -> Stored | None:
        """The message at one sequence, or None when it is gone."""
        page = await self._get({"batch": 1, "seq": seq})
        return page[0] if page and page[0].seq == seq else None

    async def _get(self, query: dict[str, Any], timeout_s: float = 5.0) -> list[Stored]:
        inbox = self._connection.new_inbox()
        found: list[Stored] = []
        done = asyncio.get_running_loop().create_future()

        async def received(message: Any) -> None:
            headers = message.headers or {}
            # The server gives every stored message this header; `Status` could be its writer's.
            if "Nats-Sequence" not in headers:
                if not done.done():
                    done.set_result(headers.get("Status", "without status"))
                return
            found.append(_stored(message, headers))

        subscription = await self._connection.subscribe(inbox, received)
        try:
            await self._connection.publish(
                f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(query).encode(), inbox
            )
            status = await asyncio.wait_for(done, timeout_s)
        except TimeoutError:
            raise TimedOut(f"reading {self._stream} took longer than {timeout_s:g} s") from None
        finally:
            await self._connection.unsubscribe(subscription)
        if status in ("204", "404"):
            return found
        if status == "503":
            raise NobodyAnswers(f"stream {self._stream} does not exist on this NATS or has no leader")
        raise OutriderError(f"stream {self._stream} cannot be read: status {status}", hint="does it exist?")


def _stored(message: Any, headers: dict[str, str]) -> Stored:
    return Stored(
        headers["Nats-Subject"],
        message.data,
        int(headers["Nats-Sequence"]),
        parse_time(headers["Nats-Time-Stamp"]),
        int(headers.get("Nats-Num-Pending", "0")),
    )
