"""NATS is not there, refuses the credentials, has no JetStream; the port is taken: one clear message each."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.server import PrivateServer
from tests.acceptance.cli.command import outrider
from tests.support.processes import Process
from tests.support.waiting import eventually

COMMANDS = [
    ("submit", "echo"),
    ("task", "ls"),
    ("task", "get", "t"),
    ("agent", "ls"),
    ("orchestrator",),
    ("router",),
    ("ui", "--port", "0"),
    ("agent", "--kinds", "echo", "--name", "a-1"),
    ("stress", "--tasks", "1"),
]


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"nats://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_nats_every_command_says_where_it_looked(command: tuple[str, ...], nowhere: str) -> None:
    said = outrider(*command, "--url", nowhere)
    assert (said.code, said.out) == (69, "")
    assert nowhere in said.err
    assert "Traceback" not in said.err
    assert said.err.splitlines()[-1].startswith("outrider: NATS cannot be reached")


def test_without_nats_json_is_still_a_document(nowhere: str) -> None:
    said = outrider("submit", "echo", "--json", "--url", nowhere)
    assert (said.code, said.document["error"]["code"]) == (69, "nats_unavailable")
    assert said.document["error"]["hint"]
    doctor = outrider("doctor", "--json", "--url", nowhere)
    assert doctor.code == 1
    assert not doctor.document["ok"]


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[PrivateServer]:
    config = tmp_path / "nats.conf"
    config.write_text('authorization { user: "ann", password: "right" }\n')
    async with PrivateServer(config=config) as server:
        yield server


@pytest.mark.parametrize("command", COMMANDS[:1] + COMMANDS[4:8], ids=" ".join)
async def test_wrong_credentials_are_named(guarded: PrivateServer, command: tuple[str, ...]) -> None:
    said = outrider(*command, "--url", guarded.url, env={"NATS_USER": "ann", "NATS_PASSWORD": "wrong"})
    assert said.code == 69
    assert "refused the credentials" in said.err
    assert "wrong" not in said.err.replace("wrong_", "")


async def falls_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that greets, answers each PING, and does nothing more: frozen but for its sockets."""
    info = {"server_id": "s", "version": "2.15.1", "proto": 1, "headers": True, "max_payload": 1 << 20}
    writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
    with closing(writer):
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")


async def test_a_part_that_starts_while_the_server_falls_silent_is_not_left_guessing() -> None:
    async with await asyncio.start_server(falls_silent, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        # Not a second less: so long an orchestrator waits for JetStream.
        said = await asyncio.to_thread(outrider, "orchestrator", "--url", f"nats://127.0.0.1:{port}")
    assert said.code == 69
    assert "NATS is there but does not answer" in said.err
    assert "Traceback" not in said.err


async def test_ctrl_c_ends_a_part_in_the_middle_of_its_start() -> None:
    connected = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await falls_silent(reader, writer)

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = Process("orchestrator", "--url", f"nats://127.0.0.1:{port}").start()
        await asyncio.wait_for(connected.wait(), 30)
        process.send(signal.SIGINT)
        assert await process.ended() == 130
    assert "interrupted" in process.err
    assert "Traceback" not in process.err


async def test_a_fleet_that_never_ran_is_named(settings: NatsSettings) -> None:
    said = outrider("submit", "echo", "--url", settings.url, "--fleet", "never")
    assert said.code == 69
    assert "no orchestrator ever ran" in said.err
    assert outrider("task", "ls", "--url", settings.url, "--fleet", "never").code == 69


async def test_a_taken_port_is_named(settings: NatsSettings) -> None:
    async with Process("orchestrator", "--url", settings.url):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = str(holder.getsockname()[1])
            said = outrider("ui", "--port", port, "--url", settings.url)
            assert said.code == 1
            assert port in said.err
            assert "Traceback" not in said.err
            private = outrider("up", "--nats-port", port, "--agents", "0", "--json")
            assert (private.code, private.document["error"]["code"]) == (1, "port_taken")


async def test_a_kind_whose_agents_left_is_accepted_with_a_warning(settings: NatsSettings) -> None:
    agent = Process("agent", "--kinds", "echo", "--name", "a-1", "--url", settings.url)
    async with Process("orchestrator", "--url", settings.url):
        async with agent:
            assert outrider("submit", "echo", "--wait", "--url", settings.url).code == 0

        async def is_offline() -> bool:
            agents = outrider("agent", "ls", "--json", "--url", settings.url).document["agents"]
            return all(agent["state"] != "online" for agent in agents)

        await eventually(is_offline)
        said = outrider("submit", "echo", "--data", '"waits"', "--url", settings.url)
        assert said.code == 0
        assert "no agent for kind 'echo' is online" in said.err
        queued = outrider("task", "ls", "--only", "queued", "--json", "--url", settings.url).document["tasks"]
        assert [task["task_id"] for task in queued] == [said.out.strip()]
        async with Process("agent", "--kinds", "echo", "--name", "a-1", "--url", settings.url):
            watched = outrider("task", "watch", said.out.strip(), "--within", "30", "--url", settings.url)
            assert (watched.code, watched.out) == (0, "waits\n")


def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "outrider.cli", "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "outrider: the output cannot be written: No space left on device\n"


def test_a_reader_that_has_enough_ends_a_command_without_complaint() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for arguments in (["--help"], ["nonsense", "--json"]):
        child = subprocess.Popen(
            [sys.executable, "-m", "outrider.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=buffered,
        )
        assert child.stdout is not None
        child.stdout.close()
        _, err = child.communicate(timeout=30)
        assert err == b""


def test_streams_that_are_closed_break_nothing() -> None:
    command = f"{shlex.quote(sys.executable)} -m outrider.cli"
    for redirected, code in (("version >&-", 0), ("submit echo --data - <&-", 2), ("nonsense 2>&-", 2)):
        done = subprocess.run(["sh", "-c", f"{command} {redirected}"], capture_output=True, check=False)
        assert done.returncode == code
        assert b"Traceback" not in done.stderr
