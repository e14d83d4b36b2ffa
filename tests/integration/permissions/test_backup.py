"""The backup that docs/operations.md describes brings a fleet's tasks and history back on an empty server."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from outrider.broker.connection import Connection
from outrider.broker.pipeline import Appender
from outrider.broker.streams import (
    StreamLimits,
    drift,
    ensure_streams,
    ensure_task_consumer,
    stream_definitions,
)
from outrider.broker.subjects import Subjects
from tests.support.production_server import NATS_CONF, ProductionServer

NATS = shutil.which("nats")
IS_REQUIRED = "nats" in os.environ.get("OUTRIDER_TEST_REQUIRE", "").split(",")
SUBJECTS = Subjects("outrider")
KEPT = {SUBJECTS.tasks_stream: 20, SUBJECTS.ledger_stream: 20, SUBJECTS.later_stream: 1}
"""Streams that the page names, with their messages here."""
EMPTY = (SUBJECTS.keys_stream, SUBJECTS.limits_stream, SUBJECTS.objects_stream)

pytestmark = [
    pytest.mark.nats_cli,
    pytest.mark.skipif(NATS is None and not IS_REQUIRED, reason="the nats command is not on PATH"),
]


async def nats(server: ProductionServer, user: str, *arguments: str) -> None:
    given = server.credentials(user)
    command = [str(NATS), "--no-context", "--server", given["NATS_URL"], "--inbox-prefix", f"_INBOX.{user}"]
    command += ["--user", user, "--password", given["NATS_PASSWORD"], *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)


async def some_history(server: ProductionServer) -> None:
    async with await Connection.open(server.settings("orchestrator"), "test") as connection:
        await ensure_streams(connection, SUBJECTS)
        await ensure_task_consumer(connection, SUBJECTS, "chat", 5)
        appender = Appender(connection)
        await appender.start()
        for number in range(20):
            await appender.append(SUBJECTS.task("chat", 5, f"w{number}"), b"waits")
            await appender.append(SUBJECTS.ledger_orchestrator(f"d{number}", "o-1"), b"done")
        await appender.append(SUBJECTS.later("s1"), b"starts later")


async def test_backup_and_restore(tmp_path: Path) -> None:
    async with ProductionServer() as server:
        await some_history(server)
        for stream in (*KEPT, *EMPTY):
            await nats(server, "ops", "stream", "backup", stream, str(tmp_path / stream), "--no-progress")
    with_admin = tmp_path / "nats.conf"
    with_admin.write_text(NATS_CONF.read_text().replace("#{ user: admin", "{ user: admin"))
    async with ProductionServer(with_admin) as server:
        for stream in (*KEPT, *EMPTY):
            await nats(server, "admin", "stream", "restore", str(tmp_path / stream), "--no-progress")
        async with await Connection.open(server.settings("orchestrator"), "test") as connection:
            await ensure_streams(connection, SUBJECTS)
            wanted = {one["name"]: one for one in stream_definitions(SUBJECTS, StreamLimits())}
            for stream in (*KEPT, *EMPTY):
                info = await connection.api(f"STREAM.INFO.{stream}")
                assert info["state"]["messages"] == KEPT.get(stream, 0)
                assert drift(wanted[stream], info["config"]) == []
