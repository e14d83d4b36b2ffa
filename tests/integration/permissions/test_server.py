"""The server that `nats.conf` makes: it starts only complete, syncs always, and lets nobody in unknown."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outrider.broker.connection import Connection
from outrider.broker.errors import (
    NobodyAnswers,
    NotPermitted,
    OutriderError,
    PayloadTooLarge,
    WrongCredentials,
)
from outrider.broker.server import LOWEST_VERSION, find_server
from tests.support.production_server import (
    NATS_CONF,
    OTHERS,
    USERS,
    ProductionServer,
    new_passwords,
    password_variable,
)


def check_config(environment: dict[str, str], config: Path = NATS_CONF) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_server(), "-t", "-c", config],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def complete_environment(tmp_path: Path) -> dict[str, str]:
    return new_passwords() | {"OUTRIDER_NATS_STORE": str(tmp_path)}


def varz(server: ProductionServer) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.monitoring}/varz", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_the_server_accepts_the_file(tmp_path: Path) -> None:
    done = check_config(complete_environment(tmp_path))
    assert done.returncode == 0, done.stderr


def test_every_setting_that_lacks_is_named(tmp_path: Path) -> None:
    environment = complete_environment(tmp_path)
    for name in environment.keys() - set(map(password_variable, OTHERS)):
        done = check_config({other: value for other, value in environment.items() if other != name})
        assert done.returncode != 0
        assert name in done.stderr


def test_the_file_holds_no_password_and_opens_no_other_door() -> None:
    settings = "\n".join(line.split("#")[0] for line in NATS_CONF.read_text().splitlines())
    assert settings.count("password: $OUTRIDER_") == settings.count("password") == len(USERS)
    for door in ("websocket", "mqtt", "leafnodes", "no_auth_user", "gateway"):
        assert door not in settings


def test_a_further_agent_is_a_copy_of_one_block(tmp_path: Path) -> None:
    text = NATS_CONF.read_text()
    block = text[text.index("      # agent-1 begins") : text.index("      # agent-1 ends")]
    copy = block.replace("agent-1", "gpu-2").replace("AGENT_1", "GPU_2")
    config = tmp_path / "nats.conf"
    config.write_text(with_user(copy))
    environment = complete_environment(tmp_path) | {"OUTRIDER_GPU_2_PASSWORD": "p0123456789"}
    assert check_config(environment, config).returncode == 0


def with_user(block: str) -> str:
    """The file with one more user."""
    text = NATS_CONF.read_text()
    return text.replace("      # agent-1 begins", block + "      # agent-1 begins", 1)


async def test_the_submitter_of_the_operations_page_asks_and_reads_nothing(tmp_path: Path) -> None:
    page = (NATS_CONF.parent / "docs" / "operations.md").read_text()
    block = "{" + page.split("user: submitter")[0].rpartition("{")[2] + "user: submitter"
    block += page.split("user: submitter")[1].partition("```")[0]
    config = tmp_path / "nats.conf"
    config.write_text(with_user(block))
    async with (
        ProductionServer(config) as server,
        await Connection.open(server.settings("submitter"), "test") as connection,
    ):
        problems: list[OutriderError] = []
        connection.on_problem(problems.append)
        with pytest.raises(NobodyAnswers):
            await connection.request("outrider.submit", b"{}")
        assert problems == []
        await connection.publish("$JS.API.DIRECT.GET.OUTRIDER_TASKS", b"{}", "_INBOX.submitter.x")
        await connection.publish("outrider.task.chat.5.t1", b"{}")
        await connection.settle()
        assert [type(problem) for problem in problems] == [NotPermitted, NotPermitted]


async def test_what_was_confirmed_is_on_the_disk(production: ProductionServer) -> None:
    seen = varz(production)
    # sync_interval itself goes on showing the default.
    assert seen["jetstream"]["config"]["sync_always"] is True
    assert seen["max_payload"] == 1024 * 1024
    assert tuple(map(int, seen["version"].split("."))) >= LOWEST_VERSION


async def test_monitoring_listens_on_loopback_only(production: ProductionServer) -> None:
    assert varz(production)["http_host"] == "127.0.0.1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "wrong"},
        {"user": "nobody"},
        {"user": None, "password": None},
        {"user": "client", "password": None},
    ],
)
async def test_wrong_credentials_are_called_so(
    production: ProductionServer, wrong: dict[str, str | None]
) -> None:
    settings = replace(production.settings("client"), **wrong)  # type: ignore[arg-type]
    with pytest.raises(WrongCredentials) as refused:
        await Connection.open(settings, "test")
    assert production.settings("client").password not in (None, "")
    assert str(production.settings("client").password) not in str(refused.value)


async def test_what_is_too_large_is_refused_and_the_connection_stays(production: ProductionServer) -> None:
    async with await Connection.open(production.settings("client"), "test") as connection:
        with pytest.raises(PayloadTooLarge):
            await connection.publish("outrider.submit", b"x" * (1024 * 1024 + 1))
        await connection.settle()
