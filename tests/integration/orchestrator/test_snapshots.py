"""An orchestrator starts from the newest snapshot that can be trusted, and never from another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from outrider.broker.bucket import Bucket
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.pipeline import Appender
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.ledger.archive import Archive
from outrider.ledger.replay import Replay
from outrider.ledger.state import LedgerState
from outrider.orchestrator.snapshot_writer import write_snapshot
from tests.integration.orchestrator.conftest import Fleet
from tests.support.thresholds import QUICK
from tests.support.waiting import eventually


async def last_seq(fleet: Fleet) -> int:
    info = await fleet.connection.api(f"STREAM.INFO.{fleet.subjects.ledger_stream}")
    return int(info["state"]["last_seq"])


async def digest_at(fleet: Fleet, seq: int) -> str:
    """From a fold of everything."""
    replay = Replay(fleet.connection, fleet.subjects, LedgerState())
    return (await replay.to(seq)).digest


@asynccontextmanager
async def appending(connection: Connection) -> AsyncIterator[Appender]:
    appender = Appender(connection)
    await appender.start()
    yield appender


async def some_past(fleet: Fleet) -> tuple[str, str]:
    """A ledger with a finished, a failed and a running task; returns the last two."""
    agent = await fleet.agent("a1", slots=5)
    done = await fleet.submit(payload="p" * 5_000)
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(done)
    failing = await fleet.submit(max_attempts=2)
    await agent.fail(await agent.next_assignment())
    await agent.next_assignment()
    running = await fleet.submit(payload={"keep": "me"})
    await fleet.story_when(running, lambda s: s.is_live)
    return failing, running


async def test_a_task_that_runs_goes_on_from_a_snapshot(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    _, running = await some_past(fleet)
    seq = await last_seq(fleet)
    assert await write_snapshot(fleet.connection, fleet.subjects, seq)
    await fleet.crash_orchestrator()
    with caplog.at_level(logging.INFO):
        await fleet.start_orchestrator()
    assert f"starting from the snapshot at {seq}" in caplog.text

    story = await fleet.ledger.story(running)
    assert story.is_live
    view = await fleet.ask(fleet.subjects.cancel, b'{"task_id": "%s"}' % running.encode())
    assert view["state"] == "cancelled"
    await fleet.ended(running, TaskState.CANCELLED)


async def test_an_orchestrator_that_passes_a_mark_has_the_state_kept(
    settings: NatsSettings, connection: Connection, subjects: Subjects
) -> None:
    fleet = Fleet(settings, connection, subjects)
    await fleet.start_orchestrator(replace(QUICK, snapshot_every=10))
    agent = await fleet.agent("a1", slots=5)
    archive = Archive(connection, subjects)
    for _ in range(12):
        task_id = await fleet.submit()
        await agent.succeed(await agent.next_assignment())
        await fleet.ended(task_id)

    async def kept() -> int | None:
        return max(await archive.seqs(), default=None)

    seq = await eventually(kept, what="a snapshot")
    assert seq % 10 == 0
    assert LedgerState(await archive.newest()).digest == await digest_at(fleet, seq)
    await fleet.stop()


async def test_only_the_newest_three_are_kept(fleet: Fleet) -> None:
    await some_past(fleet)
    seqs = range(2, 7)
    for seq in seqs:
        assert await write_snapshot(fleet.connection, fleet.subjects, seq)
    assert not await write_snapshot(fleet.connection, fleet.subjects, 6)
    archive = Archive(fleet.connection, fleet.subjects)
    assert await archive.seqs() == [4, 5, 6]
    assert (await archive.newest(5)).seq == 5
    stream = await fleet.connection.api(f"STREAM.INFO.OBJ_{fleet.subjects.snapshots_bucket}")
    assert stream["state"]["messages"] == 6


async def test_a_corrupt_snapshot_means_an_older_one_and_at_last_the_whole_ledger(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    _, running = await some_past(fleet)
    seq = await last_seq(fleet)
    for at in (seq - 1, seq):
        await write_snapshot(fleet.connection, fleet.subjects, at)
    bucket = Bucket(fleet.connection, fleet.subjects.snapshots_bucket)
    archive = Archive(fleet.connection, fleet.subjects)
    async with appending(fleet.connection) as appender:
        data = await bucket.get(f"{seq:020d}")
        assert data is not None
        await bucket.put(appender, f"{seq:020d}", data[:-9] + bytes(9))
        assert (await archive.newest()).seq == seq - 1
        await bucket.put(appender, f"{seq - 1:020d}", b"nonsense")
    assert (await archive.newest()).seq == 0
    assert "is not used" in caplog.text

    await fleet.crash_orchestrator()
    await fleet.start_orchestrator()
    await fleet.ask(fleet.subjects.cancel, b'{"task_id": "%s"}' % running.encode())
    await fleet.ended(running, TaskState.CANCELLED)


async def test_a_snapshot_of_a_ledger_that_lost_its_end_is_not_used(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a crash of the server without sync: another entry stands at the sequence now."""
    await some_past(fleet)
    seq = await last_seq(fleet)
    await write_snapshot(fleet.connection, fleet.subjects, seq)
    await fleet.crash_orchestrator()
    stream = fleet.subjects.ledger_stream
    config = (await fleet.connection.api(f"STREAM.INFO.{stream}"))["config"]
    await fleet.connection.api(f"STREAM.DELETE.{stream}")
    await fleet.connection.api(f"STREAM.CREATE.{stream}", config)
    async with appending(fleet.connection) as appender:
        for n in range(seq):
            await appender.append(fleet.subjects.member(f"m{n}"), b"another past")
    archive = Archive(fleet.connection, fleet.subjects)
    assert (await archive.newest()).seq == 0
    assert "another entry stands" in caplog.text
    await fleet.start_orchestrator()


async def test_every_replay_to_a_sequence_gives_the_same_hash(fleet: Fleet) -> None:
    await some_past(fleet)
    seq = await last_seq(fleet)
    for at in range(1, seq + 1):
        await write_snapshot(fleet.connection, fleet.subjects, at)
        kept = await Archive(fleet.connection, fleet.subjects).newest(at)
        assert LedgerState(kept).digest == await digest_at(fleet, at)
    newest = LedgerState(await Archive(fleet.connection, fleet.subjects).newest())
    again = await asyncio.gather(digest_at(fleet, seq), digest_at(fleet, seq))
    assert list(again) == [newest.digest] * 2
