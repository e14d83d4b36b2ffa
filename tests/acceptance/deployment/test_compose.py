"""docker-compose.yml without Docker: each service's own command line and environment, as a local process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.deployment.compose_file import ROOT, Service, Unset, read
from tests.support.processes import Process
from tests.support.production_server import USERS, ProductionServer, password_variable
from tests.support.waiting import eventually

TOKEN = "a-long-token-for-the-pages-of-this-test"
PARTS = ("orchestrator", "router", "ui", "agent")


def dotenv(server: ProductionServer) -> dict[str, str]:
    """What stands in the .env of this deployment."""
    return server.environment | {"OUTRIDER_UI_TOKEN": TOKEN}


class Local:
    """Turns what a container would get into what a process on this machine gets."""

    def __init__(self, server: ProductionServer, folder: Path) -> None:
        self.services = read(dotenv(server))
        self._nats = server.url.removeprefix("nats://")
        self._folder = folder

    def process(self, name: str, *more: str, host: str = "") -> Process:
        service = self.services[name]
        own = {key: value.replace("nats:4222", self._nats) for key, value in service.environment.items()}
        own |= {"OUTRIDER_STATE": str(self._folder / (host or name)), "HOME": str(self._folder)}
        local = {"0.0.0.0": "127.0.0.1", "8080": "0"}
        command = [local.get(part, part) for part in service.command] if not more else []
        # Two containers differ by their host name; two processes of one machine need to be told.
        named = ["--name", host] if host else []
        return Process(*command, *more, *named, env=own, cwd=self._folder)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything runs."""

    server: ProductionServer
    local: Local
    ui: str

    async def cli(self, *arguments: str) -> tuple[int, Any]:
        """The `cli` service with these arguments; exit code and its JSON document."""
        process = self.local.process("cli", *arguments, "--json").start()
        code = await process.ended(60)
        return code, json.loads(process.out) if process.out else process.err


@pytest.fixture
async def server() -> AsyncIterator[ProductionServer]:
    async with ProductionServer() as running:
        yield running


@pytest.fixture
async def deployment(server: ProductionServer, tmp_path: Path) -> AsyncIterator[Deployment]:
    local = Local(server, tmp_path)
    async with AsyncExitStack() as running:
        started = [
            local.process("orchestrator"),
            local.process("router"),
            local.process("ui"),
            local.process("agent", host="3f2a9c01b7de"),
            local.process("agent", host="90bb14c2aa07"),
        ]
        for process in started:
            process.start()
            running.push_async_callback(process.stop)
        await asyncio.gather(*(process.ready(60) for process in started))
        yield Deployment(server, local, started[2].err.split(" ready")[0].split()[-1])


def ask(url: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return int(answer.status)


async def test_every_service_gets_ready_and_tasks_go_all_the_way(deployment: Deployment) -> None:
    submitted = ("submit", "echo", "--data", '{"text": "hi"}', "--wait")
    code, task = await deployment.cli(*submitted)
    assert (code, task["state"], task["result"]) == (0, "succeeded", {"text": "hi"})
    code, said = await deployment.cli("submit", "chat", "--data", '{"prompt": "Say hello."}', "--wait")
    assert (code, said["state"]) == (0, "succeeded"), said
    code, listed = await deployment.cli("agent", "ls")
    assert {agent["agent_id"] for agent in listed["agents"]} == {"3f2a9c01b7de", "90bb14c2aa07"}
    assert {agent["state"] for agent in listed["agents"]} == {"online"}

    async def is_ready() -> bool:
        return await asyncio.to_thread(ask, deployment.ui + "/readyz") == 200

    await eventually(is_ready, 20, "the bridge")
    assert "Violation" not in deployment.server.log_file.read_text()


async def test_doctor_finds_everything_in_order_as_ops(deployment: Deployment, tmp_path: Path) -> None:
    env = deployment.server.credentials("ops") | {"OUTRIDER_STATE": str(tmp_path / "ops")}
    process = Process("doctor", "--json", env=env, cwd=tmp_path).start()
    code = await process.ended(60)
    found = json.loads(process.out)
    assert code == 0, found
    assert {check["name"] for check in found["checks"] if check["status"] == "wrong"} == set()


async def test_the_health_checks_tell_what_they_claim(deployment: Deployment, tmp_path: Path) -> None:
    services = deployment.local.services
    port = int(deployment.server.url.rpartition(":")[2])
    for name in ("orchestrator", "router", "agent"):
        check = " ".join(services[name].health[2:])
        assert await run(["sh", "-c", check.replace("107E", f"{port:04X}")]) == 0
        assert await run(["sh", "-c", check.replace("107E", "0009")]) != 0
    program = services["ui"].health
    assert program[0] == "python"
    with_port = [part.replace("http://127.0.0.1:8080", deployment.ui) for part in program[1:]]
    assert await run([sys.executable, *with_port], {"OUTRIDER_UI_TOKEN": TOKEN}) == 0
    assert await run([sys.executable, *with_port], {"OUTRIDER_UI_TOKEN": "another"}) != 0
    assert services["nats"].health[-1] == "http://127.0.0.1:8222/healthz"
    healthy = await asyncio.to_thread(urllib.request.urlopen, f"{deployment.server.monitoring}/healthz")
    with healthy:
        assert healthy.status == 200


async def run(command: list[str], env: dict[str, str] | None = None) -> int:
    done = await asyncio.to_thread(
        subprocess.run, command, env=os.environ | (env or {}), capture_output=True, timeout=20
    )
    return done.returncode


@pytest.fixture
def services() -> dict[str, Service]:
    return read({password_variable(user): "p1" for user in USERS} | {"OUTRIDER_UI_TOKEN": TOKEN})


def test_a_missing_password_is_named_before_anything_starts() -> None:
    complete = {password_variable(user): "p1" for user in USERS} | {"OUTRIDER_UI_TOKEN": TOKEN}
    for name in complete:
        with pytest.raises(Unset, match=f"{name} is missing in .env"):
            read({other: value for other, value in complete.items() if other != name})


def test_nats_gets_the_file_a_store_and_every_password(services: dict[str, Service]) -> None:
    nats = services["nats"]
    assert set(nats.environment) == {"OUTRIDER_NATS_STORE", *map(password_variable, USERS)}
    mounts = {mount.split(":")[1]: mount.split(":")[0] for mount in nats.given["volumes"]}
    assert nats.environment["OUTRIDER_NATS_STORE"] in mounts
    assert (ROOT / mounts[nats.command[-1]]).is_file()


def test_a_part_knows_only_its_own_password(services: dict[str, Service]) -> None:
    for name in (*PARTS, "cli"):
        environment = services[name].environment
        assert environment["NATS_USER"] in USERS
        assert [key for key in environment if "PASSWORD" in key] == ["NATS_PASSWORD"]
    with_key = [name for name, service in services.items() if "OPENAI_API_KEY" in service.environment]
    assert with_key == ["agent"]


def test_the_parts_wait_for_nats_come_back_and_are_checked(services: dict[str, Service]) -> None:
    for name in PARTS:
        given = services[name].given
        assert given["depends_on"] == {"nats": {"condition": "service_healthy"}}
        assert given["restart"] == "unless-stopped"
        assert given["healthcheck"]["test"]
    assert services["nats"].given["healthcheck"]["test"]


def test_agents_can_be_scaled(services: dict[str, Service]) -> None:
    agent = services["agent"]
    assert "--name" not in agent.command
    assert not {"container_name", "hostname", "ports"} & set(agent.given)


def test_ports_are_published_on_loopback_only(services: dict[str, Service]) -> None:
    published = [port for service in services.values() for port in service.given.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:4222:4222", "127.0.0.1:8080:8080"]
