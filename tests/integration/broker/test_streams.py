"""Streams are made when they lack, checked when they exist, and never changed or destroyed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import StreamDrift
from outrider.broker.pipeline import Appender
from outrider.broker.server import PrivateServer
from outrider.broker.stream_limits import StreamLimits
from outrider.broker.streams import ensure_streams, ensure_task_consumer, stream_definitions
from outrider.broker.subjects import Subjects


async def config_of(connection: Connection, stream: str) -> dict[str, Any]:
    config: dict[str, Any] = (await connection.api(f"STREAM.INFO.{stream}"))["config"]
    return config


async def test_all_streams_are_made_once_also_by_several_at_the_same_time(
    connection: Connection, subjects: Subjects
) -> None:
    await asyncio.gather(*(ensure_streams(connection, subjects) for _ in range(5)))
    names = (await connection.api("STREAM.NAMES"))["streams"]
    assert sorted(names) == sorted(wanted["name"] for wanted in stream_definitions(subjects, StreamLimits()))
    ledger = await config_of(connection, subjects.ledger_stream)
    assert (ledger["deny_delete"], ledger["deny_purge"], ledger["discard"]) == (True, True, "new")
    assert ledger["republish"]["dest"] == f"{subjects.fleet}.live.>"


async def test_what_is_stored_is_republished_live(connection: Connection, subjects: Subjects) -> None:
    await ensure_streams(connection, subjects)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await connection.subscribe(subjects.live("t1"), heard.put)
    appender = Appender(connection)
    await appender.start()
    seq = await appender.append(subjects.ledger_agent("t1", "a"), b"body")
    message = await asyncio.wait_for(heard.get(), 20)
    assert message.subject == f"{subjects.fleet}.live.t1.agent.a"
    assert (message.data, message.headers["Nats-Sequence"]) == (b"body", str(seq))


async def test_bounds_chosen_by_the_operator_are_left_alone(
    connection: Connection, subjects: Subjects
) -> None:
    await ensure_streams(connection, subjects)
    config = await config_of(connection, subjects.tasks_stream)
    await connection.api(f"STREAM.UPDATE.{subjects.tasks_stream}", config | {"max_msgs": 7})
    await ensure_streams(connection, subjects)
    assert (await config_of(connection, subjects.tasks_stream))["max_msgs"] == 7


async def test_drift_is_reported_and_nothing_is_changed(connection: Connection, subjects: Subjects) -> None:
    stream = subjects.ledger_stream
    wrong = {"name": stream, "subjects": [subjects.all_ledger], "retention": "limits", "discard": "old"}
    await connection.api(f"STREAM.CREATE.{stream}", wrong)
    before = await config_of(connection, stream)
    with pytest.raises(StreamDrift) as caught:
        await ensure_streams(connection, subjects)
    for name in ("subjects", "discard", "deny_delete", "republish"):
        assert name in str(caught.value)
    assert stream in str(caught.value)
    assert await config_of(connection, stream) == before


async def test_two_fleets_whose_streams_would_have_one_name_are_refused(connection: Connection) -> None:
    await ensure_streams(connection, Subjects("my-lab"))
    with pytest.raises(StreamDrift, match="MY_LAB_"):
        await ensure_streams(connection, Subjects("my_lab"))


@pytest.mark.parametrize("size", ["100MB", "512MB", "3GB"])
async def test_a_small_disk_gets_smaller_streams(tmp_path: Path, size: str, subjects: Subjects) -> None:
    config = tmp_path / "small.conf"
    config.write_text(f"jetstream {{ max_file_store: {size} }}\n")
    async with PrivateServer(config=config) as server:
        settings = NatsSettings(url=server.url, source="test")
        async with await Connection.open(settings, "test") as connection:
            await ensure_streams(connection, subjects)
            appender = Appender(connection)
            await appender.start()
            assert await appender.append(subjects.task("echo", 5, "t1"), b"") == 1
            ledger = await config_of(connection, subjects.ledger_stream)
    assert ledger["max_bytes"] >= 64 * 1024**2


async def test_a_task_consumer_is_made_once_and_takes_only_its_own(
    connection: Connection, subjects: Subjects
) -> None:
    await ensure_streams(connection, subjects)
    for _ in range(2):
        assert await ensure_task_consumer(connection, subjects, "echo", 3) == "echo-3"
    info = await connection.api(f"CONSUMER.INFO.{subjects.tasks_stream}.echo-3")
    assert info["config"]["filter_subject"] == subjects.tasks_of("echo", 3)
    assert info["config"]["max_deliver"] == -1
