"""What an orchestrator hears of the ledger: nothing of its own while alone, all of others always."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from outrider.broker.connection import Connection
from outrider.broker.follower import Stored
from outrider.broker.pipeline import Appender
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.orchestrator.feed import LedgerFeed
from tests.support.waiting import eventually


class Heard:
    """A running feed, what it delivered, and a way to write to the ledger."""

    def __init__(self, connection: Connection, subjects: Subjects, watch_s: float) -> None:
        self.subjects = subjects
        self.seqs: list[int] = []
        self.appender = Appender(connection)
        self.feed = LedgerFeed(connection, subjects, "me", watch_s, self._hear, self._hear)

    async def _hear(self, stored: Stored) -> None:
        self.seqs.append(stored.seq)

    async def write(self, task_id: str, role: str, writer: str) -> int:
        s = self.subjects
        subject = (s.ledger_agent if role == "agent" else s.ledger_orchestrator)(task_id, writer)
        return await self.appender.append(subject, b"an entry")

    async def until(self, seq: int) -> None:
        async def is_heard() -> bool:
            return seq in self.seqs

        await eventually(is_heard, what=f"entry {seq}")


@pytest.fixture
async def heard(connection: Connection, subjects: Subjects) -> AsyncIterator[Heard]:
    await ensure_streams(connection, subjects)
    heard = Heard(connection, subjects, watch_s=60.0)
    await heard.appender.start()
    running = asyncio.create_task(heard.feed.run())
    await heard.feed.caught_up.wait()
    yield heard
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_another_wrote_before_its_pulse_was_heard_is_not_missed(heard: Heard) -> None:
    theirs = await heard.write("t1", "orchestrator", "another")
    outcome = await heard.write("t1", "agent", "a")
    await heard.until(outcome)
    assert theirs not in heard.seqs

    heard.feed.not_alone()
    await heard.until(theirs)


async def test_what_it_wrote_itself_while_alone_does_not_come_back(heard: Heard) -> None:
    own = await heard.write("t1", "orchestrator", "me")
    outcome = await heard.write("t1", "agent", "a")
    await heard.until(outcome)
    heard.feed.not_alone()
    later = await heard.write("t2", "orchestrator", "me")
    await heard.until(later)
    assert own not in heard.seqs
