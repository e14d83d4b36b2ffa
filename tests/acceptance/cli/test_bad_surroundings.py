"""NATS is not there, refuses the credentials, has no JetStream; the port is taken: one clear message each."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
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
