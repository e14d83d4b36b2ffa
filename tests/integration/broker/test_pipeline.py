"""The hot path tells the truth about every write and loses no message, also when the server dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, OutcomeUnknown, QueueFull, WrongSequence
from outrider.broker.pipeline import Appender, Pulled, Puller, Receipt, ack, give_back, guard
from outrider.broker.server import PrivateServer
from outrider.broker.streams import StreamLimits, ensure_streams, ensure_task_consumer
from outrider.broker.subjects import Subjects
from tests.support.waiting import eventually


@pytest.fixture
async def appender(connection: Connection, subjects: Subjects) -> AsyncIterator[Appender]:
    """An appender of a fleet whose queue holds three tasks at most."""
    await ensure_streams(connection, subjects, StreamLimits(tasks_messages=3))
    appender = Appender(connection, timeout_s=1.0)
    await appender.start()
    running = asyncio.create_task(appender.run())
    yield appender
    running.cancel()


async def test_a_stored_message_has_its_sequence(appender: Appender, subjects: Subjects) -> None:
    story = subjects.story("t1")
    first = await appender.append(subjects.ledger_agent("t1", "a"), b"1", guard(0, story))
    assert await appender.append(subjects.ledger_agent("t1", "b"), b"2", guard(first, story)) == first + 1
    assert appender.pending == 0


async def test_of_many_who_expect_the_same_one_wins(appender: Appender, subjects: Subjects) -> None:
    async def race(writer: str) -> int | None:
        try:
            return await appender.append(
                subjects.ledger_orchestrator("t1", writer), b"", guard(0, subjects.story("t1"))
            )
        except WrongSequence:
            return None

    outcomes = await asyncio.gather(*(race(f"o-{n}") for n in range(50)))
    assert len([seq for seq in outcomes if seq is not None]) == 1


async def test_a_full_queue_refuses(appender: Appender, subjects: Subjects) -> None:
    for n in range(3):
        await appender.append(subjects.task("echo", 5, f"t{n}"), b"")
    with pytest.raises(QueueFull) as caught:
        await appender.append(subjects.task("echo", 5, "t3"), b"")
    assert caught.value.hint


async def test_a_subject_without_a_stream_is_told(appender: Appender) -> None:
    with pytest.raises(NatsUnavailable, match="no stream"):
        await appender.append("some.where", b"")


async def test_a_write_into_a_dying_server_is_unknown_and_the_next_one_works(
    appender: Appender, server: PrivateServer, subjects: Subjects
) -> None:
    server.kill()
    with pytest.raises((OutcomeUnknown, NatsUnavailable)):
        await appender.append(subjects.ledger_agent("t1", "a"), b"")
    assert appender.pending == 0
    await server.start()

    async def stored() -> bool:
        try:
            return await appender.append(subjects.ledger_agent("t2", "a"), b"") > 0
        except (OutcomeUnknown, NatsUnavailable):
            return False

    await eventually(stored, 20, "a write after the restart")


async def test_every_write_of_a_burst_gets_one_receipt_and_the_window_is_kept(
    connection: Connection, subjects: Subjects
) -> None:
    await ensure_streams(connection, subjects)
    appender = Appender(connection, window=16)
    await appender.start()
    receipts: list[Receipt] = []
    most = 0
    for _ in range(500):
        await appender.send(subjects.ledger_agent("t1", "a"), b"", receipts.append)
        most = max(most, appender.pending)

    async def all_here() -> bool:
        return len(receipts) == 500

    await eventually(all_here, 10, "all receipts")
    assert most <= 16
    assert [receipt.seq for receipt in receipts] == list(range(1, 501))


class Undecided:
    """Answers as the leader of a replicated stream does while another write of the same is in flight."""

    def __init__(self, connection: Connection, then: bytes) -> None:
        self._connection = connection
        self._answers = [b'{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}'] * 2
        self._answers.append(then)
        self.asked = 0

    async def answer(self, message: Any) -> None:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        await self._connection.publish(message.reply, answer)


async def test_a_write_in_flight_is_no_sign_that_anything_is_stored(connection: Connection) -> None:
    appender = Appender(connection)
    await appender.start()
    leader = Undecided(connection, b'{"stream":"S","seq":7}')
    await connection.subscribe("undecided.one", leader.answer)
    assert await appender.append("undecided.one", b"", guard(0, "undecided.one")) == 7
    assert leader.asked == 3

    other = Undecided(connection, b'{"error":{"code":400,"err_code":10071,"description":"it came first"}}')
    await connection.subscribe("undecided.two", other.answer)
    with pytest.raises(WrongSequence, match="it came first"):
        await appender.append("undecided.two", b"", guard(0, "undecided.two"))


async def test_a_write_that_stays_in_flight_is_an_outcome_unknown(connection: Connection) -> None:
    appender = Appender(connection, timeout_s=0.3)
    await appender.start()
    leader = Undecided(connection, b"")
    leader._answers.pop()
    await connection.subscribe("undecided.three", leader.answer)
    with pytest.raises(OutcomeUnknown):
        await appender.append("undecided.three", b"", guard(0, "undecided.three"))
    assert leader.asked > 2


Build = Callable[[], Awaitable[tuple[Puller, "asyncio.Queue[Pulled]"]]]


@pytest.fixture
async def build(connection: Connection, subjects: Subjects) -> Build:
    async def start() -> tuple[Puller, asyncio.Queue[Pulled]]:
        await ensure_streams(connection, subjects)
        name = await ensure_task_consumer(connection, subjects, "echo", 5)
        pulled: asyncio.Queue[Pulled] = asyncio.Queue()
        puller = Puller(connection, subjects.tasks_stream, name, pulled.put, heartbeat_s=0.2)
        await puller.start()
        return puller, pulled

    return start


async def publish(connection: Connection, subjects: Subjects, *task_ids: str) -> None:
    appender = Appender(connection)
    await appender.start()
    for task_id in task_ids:
        await appender.append(subjects.task("echo", 5, task_id), task_id.encode())


async def waiting(connection: Connection, subjects: Subjects) -> int:
    info = await connection.api(f"STREAM.INFO.{subjects.tasks_stream}")
    return int(info["state"]["messages"])


async def test_as_many_as_wanted_come_and_an_ack_removes_them(
    connection: Connection, subjects: Subjects, build: Build
) -> None:
    puller, pulled = await build()
    await publish(connection, subjects, "t1", "t2", "t3")
    await puller.want(2)
    got = [await asyncio.wait_for(pulled.get(), 20) for _ in range(2)]
    assert [message.data for message in got] == [b"t1", b"t2"]
    assert (puller.credit, pulled.empty()) == (0, True)
    for message in got:
        await ack(connection, message)

    async def acked() -> bool:
        return await waiting(connection, subjects) == 1

    await eventually(acked, 20, "two acks")
    await puller.stop()


async def test_what_is_given_back_comes_again(
    connection: Connection, subjects: Subjects, build: Build
) -> None:
    puller, pulled = await build()
    await publish(connection, subjects, "t1")
    await puller.want(2)
    for delay_s in (0.0, 0.1):
        await give_back(connection, await asyncio.wait_for(pulled.get(), 20), delay_s)
        await puller.want(2)
    assert (await asyncio.wait_for(pulled.get(), 20)).data == b"t1"


async def test_an_unacked_message_comes_again_after_a_crash_of_the_server(
    connection: Connection, server: PrivateServer, subjects: Subjects, build: Build
) -> None:
    puller, pulled = await build()
    connection.on_link(lambda is_up: puller.reconnected() if is_up else None)
    await publish(connection, subjects, "t1")
    await puller.want(8)
    assert (await asyncio.wait_for(pulled.get(), 20)).data == b"t1"
    server.kill()
    await server.start()

    async def again() -> bool:
        await puller.want(8)
        return not pulled.empty()

    await eventually(again, 30, "the message delivered again")
    message = pulled.get_nowait()
    assert message.data == b"t1"
    await ack(connection, message)


async def test_requests_that_died_unheard_are_noticed_by_silence(
    connection: Connection, subjects: Subjects, build: Build
) -> None:
    puller, pulled = await build()
    await puller.want(4)
    name = subjects.consumer("echo", 5)
    await connection.api(f"CONSUMER.DELETE.{subjects.tasks_stream}.{name}")
    await ensure_task_consumer(connection, subjects, "echo", 5)
    await publish(connection, subjects, "t1")

    async def comes() -> bool:
        await puller.want(4)
        return not pulled.empty()

    await eventually(comes, 10, "the message from the new consumer")
