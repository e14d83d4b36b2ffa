"""Headers that a hostile writer puts on what it stores: they change nothing for those who read."""

from __future__ import annotations

import asyncio

import pytest

from outrider.broker.connection import Connection
from outrider.broker.follower import Follower, Stored, StreamReader
from outrider.broker.pipeline import Appender
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from tests.support.waiting import eventually

HOSTILE = [
    {"Status": "100"},
    {"Status": "100", "Nats-Consumer-Stalled": "elsewhere"},
    {"Status": "204"},
    {"Status": "404"},
    {"Nats-Sequence": "999", "Nats-Subject": "elsewhere", "Nats-Time-Stamp": "2001-01-01T00:00:00Z"},
    {"Nats-Num-Pending": "0"},
]


@pytest.fixture
async def stored(connection: Connection, subjects: Subjects) -> list[str]:
    """Subjects of a story with one hostile entry in its middle for each set of headers."""
    await ensure_streams(connection, subjects)
    appender = Appender(connection)
    await appender.start()
    subject = subjects.ledger_agent("t1", "rogue")
    for headers in HOSTILE:
        await appender.append(subject, b"before")
        await appender.append(subject, b"hostile", headers)
    await appender.append(subject, b"after")
    return [subject] * (2 * len(HOSTILE) + 1)


async def test_a_follower_hears_every_entry_once_and_in_order(
    connection: Connection, subjects: Subjects, stored: list[str]
) -> None:
    heard: list[Stored] = []

    async def hear(message: Stored) -> None:
        heard.append(message)

    follower = Follower(connection, subjects.ledger_stream, [subjects.all_ledger], hear)
    running = asyncio.create_task(follower.run())

    async def has_all() -> bool:
        return len(heard) >= len(stored)

    await eventually(has_all, 10, "all entries")
    running.cancel()
    assert [message.seq for message in heard] == list(range(1, len(stored) + 1))
    assert [message.subject for message in heard] == stored


async def test_a_reader_sees_every_entry_as_the_server_stored_it(
    connection: Connection, subjects: Subjects, stored: list[str]
) -> None:
    reader = StreamReader(connection, subjects.ledger_stream)
    found = await reader.all_of(subjects.story("t1"))
    assert [(message.seq, message.subject) for message in found] == list(enumerate(stored, 1))
    assert min(message.stored_at for message in found) > 1_700_000_000
    assert [message.data for message in found[-2:]] == [b"hostile", b"after"]


async def test_an_empty_answer_is_still_an_answer(
    connection: Connection, subjects: Subjects, stored: list[str]
) -> None:
    reader = StreamReader(connection, subjects.ledger_stream)
    assert await reader.all_of(subjects.story("unknown")) == []
    assert await reader.last_of([subjects.story("unknown")]) == []
    assert await reader.at(len(stored) + 1) is None
