"""What an operator does with the real `nats` command as user `ops`: see everything, ask, remove nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from typing import Any

import pytest

from outrider.broker.pipeline import Appender
from outrider.broker.service import Endpoints
from outrider.broker.streams import ensure_streams, ensure_task_consumer
from outrider.broker.subjects import Subjects
from tests.integration.permissions.conftest import ConnectAs
from tests.support.production_server import ProductionServer

NATS = shutil.which("nats")
IS_REQUIRED = "nats" in os.environ.get("OUTRIDER_TEST_REQUIRE", "").split(",")

pytestmark = [
    pytest.mark.nats_cli,
    pytest.mark.skipif(NATS is None and not IS_REQUIRED, reason="the nats command is not on PATH"),
]

STREAMS = ("OUTRIDER_TASKS", "OUTRIDER_LEDGER", "OUTRIDER_CHUNKS")

SEES = [
    ("stream", "ls"),
    ("stream", "info", "OUTRIDER_LEDGER"),
    ("stream", "get", "OUTRIDER_LEDGER", "1"),
    ("stream", "get", "OUTRIDER_TASKS", "1"),
    ("stream", "subjects", "OUTRIDER_LEDGER"),
    ("stream", "state", "OUTRIDER_TASKS"),
    ("consumer", "ls", "OUTRIDER_TASKS"),
    ("account", "info"),
    ("service", "ls"),
    ("service", "info", "outrider-test"),
    ("service", "stats", "outrider-test"),
    ("request", "outrider.stats", "{}"),
    ("sub", "outrider.ledger.>", "--stream", "OUTRIDER_LEDGER", "--all", "--count", "1", "--raw"),
]

DESTROYS = [
    ("stream", "purge", "OUTRIDER_TASKS", "--force"),
    ("stream", "purge", "OUTRIDER_LEDGER", "--force"),
    ("stream", "rm", "OUTRIDER_TASKS", "--force"),
    ("stream", "rm", "OUTRIDER_LEDGER", "--force"),
    ("stream", "rm", "OUTRIDER_CHUNKS", "--force"),
    ("stream", "rmm", "OUTRIDER_TASKS", "1", "--force"),
    ("stream", "rmm", "OUTRIDER_LEDGER", "1", "--force"),
    ("stream", "edit", "OUTRIDER_LEDGER", "--max-age", "1s", "--force"),
    ("stream", "seal", "OUTRIDER_LEDGER", "--force"),
    ("consumer", "rm", "OUTRIDER_TASKS", "chat-5", "--force"),
    ("consumer", "next", "OUTRIDER_TASKS", "chat-5"),
]


class Command:
    """The nats command as one user."""

    def __init__(self, server: ProductionServer, user: str) -> None:
        given = server.credentials(user)
        self._arguments = ["--no-context", "--server", given["NATS_URL"], "--inbox-prefix", f"_INBOX.{user}"]
        self._arguments += ["--user", user, "--password", given["NATS_PASSWORD"], "--timeout", "1s"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        assert NATS is not None, "OUTRIDER_TEST_REQUIRE asks for the nats command"
        return subprocess.run(
            [NATS, *self._arguments, *arguments], capture_output=True, text=True, check=False, timeout=20
        )


@pytest.fixture
async def ops(production: ProductionServer, connect_as: ConnectAs) -> Command:
    """`ops` beside a fleet with one waiting task, one ledger entry and one service."""
    connection, subjects = await connect_as("orchestrator"), Subjects("outrider")
    await ensure_streams(connection, subjects)
    await ensure_task_consumer(connection, subjects, "chat", 5)
    appender = Appender(connection)
    await appender.start()
    await appender.append(subjects.task("chat", 5, "t1"), b"{}")
    await appender.append(subjects.ledger_orchestrator("t1", "o-1"), b"{}")
    endpoints = Endpoints(connection, "outrider-test", "0.1.0", "answers")

    async def answer(_: str, __: bytes) -> dict[str, int]:
        return {"waiting": 1}

    await endpoints.start()
    await endpoints.add("stats", subjects.stats, answer)
    await connection.settle()
    return Command(production, "ops")


async def _in_thread(ops: Command, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(ops.run, *arguments)


async def test_ops_sees_and_asks_everything(ops: Command) -> None:
    for arguments in SEES:
        done = await _in_thread(ops, arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        assert "violation" not in (done.stdout + done.stderr).lower(), (arguments, done.stdout, done.stderr)
    asked = await _in_thread(ops, ("request", "outrider.stats", "{}", "--raw"))
    assert '"waiting"' in asked.stdout


async def test_ops_can_remove_nothing(ops: Command, connect_as: ConnectAs) -> None:
    reader = await connect_as("ops")

    async def found() -> list[dict[str, Any]]:
        infos = [await reader.api(f"STREAM.INFO.{stream}") for stream in STREAMS]
        consumers = [await reader.api(f"CONSUMER.INFO.{STREAMS[0]}.chat-5")]
        return [info["config"] | info.get("state", {}) for info in infos + consumers]

    before = await found()
    for arguments in DESTROYS:
        await _in_thread(ops, arguments)  # the command itself reports some refusals as success
    assert await found() == before


async def test_the_system_user_sees_the_server_and_not_the_tasks(
    production: ProductionServer, ops: Command
) -> None:
    system = Command(production, "sys")
    listed = await _in_thread(system, ("server", "ls"))
    assert "outrider-1" in listed.stdout, listed.stderr
    assert (await _in_thread(system, ("stream", "info", "OUTRIDER_LEDGER"))).returncode != 0
