"""A follower hears everything once and in order, whatever happens to the server or to its reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, OutcomeUnknown
from outrider.broker.follower import Follower, Stored, StreamReader, parse_time
from outrider.broker.pipeline import Appender
from outrider.broker.server import PrivateServer
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from tests.support.waiting import eventually


class Writer:
    """Stores numbered entries, and remembers which are certainly stored."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self.appender = Appender(connection, timeout_s=1.0)
        self._subjects = subjects
        self.stored: list[int] = []

    async def write(self, count: int, agent_id: str = "a") -> None:
        for _ in range(count):
            try:
                seq = await self.appender.append(self._subjects.ledger_agent("t1", agent_id), b"x")
            except (OutcomeUnknown, NatsUnavailable):
                continue
            self.stored.append(seq)


@pytest.fixture
async def writer(connection: Connection, subjects: Subjects) -> AsyncIterator[Writer]:
    await ensure_streams(connection, subjects)
    writer = Writer(connection, subjects)
    await writer.appender.start()
    running = asyncio.create_task(writer.appender.run())
    yield writer
    running.cancel()


def follower_of(
    connection: Connection, subjects: Subjects, heard: Callable[[Stored], Awaitable[None]], after: int = 0
) -> Follower:
    return Follower(connection, subjects.ledger_stream, [subjects.all_ledger], heard, after)


async def test_it_begins_after_the_sequence_it_is_given_and_says_when_it_caught_up(
    connection: Connection, subjects: Subjects, writer: Writer
) -> None:
    await writer.write(10)
    heard: list[int] = []

    async def hear(stored: Stored) -> None:
        heard.append(stored.seq)

    follower = follower_of(connection, subjects, hear, after=4)
    running = asyncio.create_task(follower.run())
    await asyncio.wait_for(follower.caught_up.wait(), 20)
    assert heard == [5, 6, 7, 8, 9, 10]
    follower.stop()
    await asyncio.wait_for(running, 20)
    assert follower.last_seq == 10


async def test_an_empty_stream_is_caught_up_at_once(
    connection: Connection, subjects: Subjects, writer: Writer
) -> None:
    async def hear(_: Stored) -> None:
        raise AssertionError("there is nothing to hear")

    follower = follower_of(connection, subjects, hear)
    running = asyncio.create_task(follower.run())
    await asyncio.wait_for(follower.caught_up.wait(), 20)
    follower.stop()
    await asyncio.wait_for(running, 20)


async def test_crashes_of_the_server_leave_no_gap_and_no_double(
    connection: Connection, server: PrivateServer, subjects: Subjects, writer: Writer
) -> None:
    heard: list[int] = []

    async def hear(stored: Stored) -> None:
        heard.append(stored.seq)

    follower = follower_of(connection, subjects, hear)
    running = asyncio.create_task(follower.run())
    for _ in range(2):
        await writer.write(40)
        writing = asyncio.create_task(writer.write(20))
        server.kill()
        await server.start()
        await writing

    async def is_back() -> bool:
        newest = writer.stored[-1] if writer.stored else 0
        await writer.write(1)
        return newest in heard

    async def all_are_heard() -> bool:
        return set(writer.stored) <= set(heard)

    await eventually(is_back, 30, "a new entry heard")
    await eventually(all_are_heard, 10, "all stored entries heard")
    assert len(heard) == len(set(heard))
    assert heard == sorted(heard)
    assert heard == list(range(1, heard[-1] + 1))
    follower.stop()
    await asyncio.wait_for(running, 20)


async def test_an_error_of_the_reader_ends_the_run_loudly(
    connection: Connection, subjects: Subjects, writer: Writer
) -> None:
    await writer.write(3)

    async def hear(stored: Stored) -> None:
        if stored.seq == 2:
            raise LookupError("a bug of the reader")

    follower = follower_of(connection, subjects, hear)
    with pytest.raises(LookupError, match="a bug of the reader"):
        await asyncio.wait_for(follower.run(), 20)
    assert follower.last_seq == 1
    assert not follower.caught_up.is_set()


async def test_a_reader_that_cannot_now_is_given_the_same_message_again(
    connection: Connection, subjects: Subjects, writer: Writer
) -> None:
    await writer.write(3)
    tried: list[int] = []

    async def hear(stored: Stored) -> None:
        tried.append(stored.seq)
        if len(tried) == 2:
            raise NatsUnavailable("not at the moment")

    follower = follower_of(connection, subjects, hear)
    running = asyncio.create_task(follower.run())
    await asyncio.wait_for(follower.caught_up.wait(), 10)
    assert tried == [1, 2, 2, 3]
    follower.stop()
    await asyncio.wait_for(running, 20)


async def test_a_filter_lets_only_its_own_through(
    connection: Connection, subjects: Subjects, writer: Writer
) -> None:
    await writer.write(2, "a")
    await writer.write(2, "b")
    reader = StreamReader(connection, subjects.ledger_stream)
    found = await reader.all_of(subjects.ledger_agent("t1", "b"))
    assert [stored.seq for stored in found] == [3, 4]
    last = await reader.last_of([subjects.story("t1")])
    assert [(stored.seq, stored.subject) for stored in last] == [
        (2, subjects.ledger_agent("t1", "a")),
        (4, subjects.ledger_agent("t1", "b")),
    ]
    at = await reader.at(3)
    assert at is not None
    assert at.seq == 3


async def test_long_stories_are_read_whole_and_bounded(
    connection: Connection, subjects: Subjects, writer: Writer
) -> None:
    await writer.write(600)
    reader = StreamReader(connection, subjects.ledger_stream)
    assert len(await reader.all_of(subjects.story("t1"))) == 600
    assert [stored.seq for stored in await reader.all_of(subjects.story("t1"), first=590, most=5)] == [
        590,
        591,
        592,
        593,
        594,
    ]


def test_times_of_the_server_are_read_to_the_nanosecond() -> None:
    assert parse_time("1970-01-01T00:00:01Z") == 1.0
    assert parse_time("2026-11-22T15:22:13.824201043Z") == pytest.approx(1795360933.824201, abs=1e-6)
