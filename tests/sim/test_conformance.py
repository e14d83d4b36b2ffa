"""The fake JetStream is held to the real nats-server: the same random operations, the same answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import WrongSequence
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.pipeline import SECOND, Appender, guard
from outrider.broker.server import PrivateServer
from outrider.broker.streams import StreamLimits, ensure_streams, ensure_task_consumer
from outrider.broker.subjects import Subjects
from tests.sim.fake_jetstream import WRONG_SEQUENCE
from tests.sim.operations import ACK_WAIT_S, KIND, PRIORITIES, Answer, Operation, Writer
from tests.support.waiting import eventually

LISTS, AT_ONCE = 52, 4
RESTARTS = 8
LENGTH = 24
MIB = 1024**2
SMALL = StreamLimits(tasks_messages=1000, tasks_bytes=MIB, ledger_bytes=MIB, chunks_bytes=MIB)
"""The server reserves what a stream may grow to, and there are many here."""


class TooSlow(Exception):
    """The machine took so long that a message was due again before its time in the list."""


def of_stored(stored: list[Stored]) -> Answer:
    return tuple((s.seq, s.subject, s.data) for s in stored)


@dataclass(slots=True)
class Real:
    """Runs operations on a real nats-server."""

    connection: Connection
    subjects: Subjects
    server: PrivateServer | None = None
    handed_out: list[str] = field(default_factory=list)
    """Where to ack each delivery of the list."""
    pulled_at: float | None = None
    appender: Appender = field(init=False)

    async def start(self) -> None:
        await ensure_streams(self.connection, self.subjects, SMALL)
        self.appender = Appender(self.connection)
        await self.appender.start()
        for priority in PRIORITIES:
            await self._make_consumer(priority)

    async def _make_consumer(self, priority: int) -> None:
        """As the orchestrator makes it, but with an ack_wait for the impatient."""
        stream, name = (
            self.subjects.tasks_stream,
            await ensure_task_consumer(self.connection, self.subjects, KIND, priority),
        )
        info = await self.connection.api(f"CONSUMER.INFO.{stream}.{name}")
        config = info["config"] | {"ack_wait": int(ACK_WAIT_S * SECOND)}
        what = f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}"
        await self.connection.api(what, {"stream_name": stream, "config": config})

    async def run(self, operation: Operation) -> Answer:
        """The server's answer. Raises TooSlow when it cannot be compared."""
        loop = asyncio.get_running_loop()
        answer: Answer = await getattr(self, f"_{operation.name}")(operation)
        if operation.name in ("pull", "expired") and self.pulled_at is None:
            self.pulled_at = loop.time()
        if operation.name == "pass_ack_wait":
            self.pulled_at = None
        if self.pulled_at is not None and loop.time() - self.pulled_at > 0.7 * ACK_WAIT_S:
            raise TooSlow
        return answer

    async def _publish(self, o: Operation) -> Answer:
        headers = None if o.expect is None else guard(o.expect, o.over)
        try:
            return (await self.appender.append(o.subject, o.subject.encode(), headers), 0)
        except WrongSequence:
            return (0, WRONG_SEQUENCE)

    async def _pull(self, o: Operation) -> Answer:
        """Ask again for what is missing: a consumer hears of a publish a moment after its publisher."""
        found: list[Any] = []

        async def all_came() -> bool:
            found.extend(await self._pull_once(o, o.batch - len(found)))
            return len(found) >= len(o.answer)

        with contextlib.suppress(AssertionError):
            await eventually(all_came, 5, "what the fake handed out")
        return tuple(found)

    async def _pull_once(self, o: Operation, batch: int) -> Answer:
        inbox, done = self.connection.new_inbox(), asyncio.Event()
        found: list[Any] = []

        async def received(message: Any) -> None:
            if message.reply.startswith("$JS.ACK"):
                found.append(message)
            if len(found) == batch or not message.reply.startswith("$JS.ACK"):
                done.set()

        subscription = await self.connection.subscribe(inbox, received)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.subjects.tasks_stream}.{o.consumer}"
        body = json.dumps({"batch": batch, "no_wait": True}).encode()
        await self.connection.publish(subject, body, inbox)
        await asyncio.wait_for(done.wait(), 20)
        await self.connection.unsubscribe(subscription)
        self.handed_out += [message.reply for message in found]
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time ns>.<pending>
        tokens = [message.reply.split(".") for message in found]
        return tuple((int(t[-4]), m.subject, int(t[-5])) for t, m in zip(tokens, found, strict=True))

    async def _pass_ack_wait(self, _: Operation) -> Answer:
        """Nothing is pulled meanwhile: it would be due again itself before the rest is."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def is_past() -> bool:
            return loop.time() - began > ACK_WAIT_S + 0.05

        await eventually(is_past, what="the end of ack_wait")
        return ()

    async def _expired(self, o: Operation) -> Answer:
        """Pull until as much has come as the fake handed out; more would show in what follows."""
        found: list[Any] = []
        first = len(self.handed_out)

        async def all_came() -> bool:
            found.extend(await self._pull_once(o, o.batch))
            return len(found) >= len(o.answer)

        await eventually(all_came, 10.0, f"redelivery of {o.answer}")
        order = sorted(range(len(found)), key=lambda i: found[i])
        acks = self.handed_out[first:]
        # The list counts deliveries in the fake's order, which for these is by sequence.
        self.handed_out[first:] = [acks[i] for i in order]
        return tuple(found[i] for i in order)

    async def _acknowledge(self, o: Operation) -> Answer:
        body = o.word
        if o.delay_s:
            body += " " + json.dumps({"delay": int(o.delay_s * SECOND)})
        await self.connection.request(self.handed_out[o.handed_out], body.encode())
        return ()

    async def _delete(self, o: Operation) -> Answer:
        what = f"STREAM.MSG.DELETE.{self.subjects.tasks_stream}"
        try:
            await self.connection.api(what, {"seq": o.seq, "no_erase": True})
        except ApiError:
            return (False,)
        return (True,)

    async def _all_of(self, o: Operation) -> Answer:
        return of_stored(await self._ledger().all_of(o.subject))

    async def _last_of(self, o: Operation) -> Answer:
        return of_stored(await self._ledger().last_of([o.subject]))

    async def _at(self, o: Operation) -> Answer:
        stored = await self._ledger().at(o.seq)
        return of_stored([stored] if stored else [])

    async def _waiting(self, o: Operation) -> Answer:
        return of_stored(await StreamReader(self.connection, self.subjects.tasks_stream).all_of(o.subject))

    def _ledger(self) -> StreamReader:
        return StreamReader(self.connection, self.subjects.ledger_stream)

    async def _restart(self, _: Operation) -> Answer:
        """kill -9, and wait until the streams answer again."""
        assert self.server is not None
        self.server.kill()
        await self.server.start()

        async def is_back() -> bool:
            if not self.connection.is_connected:
                return False
            try:
                await self.connection.api(f"STREAM.INFO.{self.subjects.tasks_stream}", timeout_s=1.0)
            except Exception:  # noqa: BLE001 - whatever it is, it is not back yet
                return False
            return True

        await eventually(is_back, what="the server")
        return ()


async def compare(connection: Connection, seed: int, server: PrivateServer | None = None) -> None:
    """Run the list of one seed; a machine that was too slow gets more chances."""
    for _ in range(6):
        real = Real(connection, Subjects(f"c{uuid.uuid4().hex[:8]}"), server)
        await real.start()
        try:
            await _compare_once(real, seed)
        except TooSlow:
            continue
        return
    pytest.skip("this machine is too slow to keep an ack_wait of a second")


async def _compare_once(real: Real, seed: int) -> None:
    operations = Writer(Random(seed), real.subjects).draw(LENGTH, restarts=real.server is not None)
    has_restarted = False
    for number, operation in enumerate(operations):
        answer = await real.run(operation)
        has_restarted = has_restarted or operation.name == "restart"
        wanted = operation.answer
        if has_restarted and operation.name in ("pull", "expired"):
            # How often a message went out before a crash is not synced, and not relied upon.
            answer, wanted = _without_counts(answer), _without_counts(wanted)
        assert answer == wanted, f"list {seed}, operation {number}: {operation}"


def _without_counts(deliveries: Answer) -> Answer:
    return tuple(d[:2] for d in deliveries if isinstance(d, tuple))


@pytest.mark.parametrize("first", range(0, LISTS, AT_ONCE))
async def test_the_same_operations_get_the_same_answers(connection: Connection, first: int) -> None:
    await asyncio.gather(*(compare(connection, seed) for seed in range(first, first + AT_ONCE)))


@pytest.mark.parametrize("seed", range(1000, 1000 + RESTARTS))
async def test_a_restart_changes_only_what_the_fake_says(
    server: PrivateServer, settings: NatsSettings, seed: int
) -> None:
    async with await Connection.open(settings, "test") as connection:
        await compare(connection, seed, server)
