"""Fixtures for every test: a real nats-server on a free port, a connection, a fleet name of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import Subjects

_NATS_VARIABLES = [name for name in os.environ if name.startswith(("NATS_", "OUTRIDER_", "OPENAI_"))]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in _NATS_VARIABLES:
        if not name.startswith("OUTRIDER_TEST_"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("OUTRIDER_STATE", str(tmp_path / "state"))


@pytest.fixture
async def server() -> AsyncIterator[PrivateServer]:
    """A nats-server of this test's own; `server.kill()` and `server.start()` crash and restart it."""
    async with PrivateServer() as running:
        yield running


@pytest.fixture
def settings(server: PrivateServer) -> NatsSettings:
    return NatsSettings(url=server.url, source="test")


@pytest.fixture
async def connection(settings: NatsSettings) -> AsyncIterator[Connection]:
    async with await Connection.open(settings, "test") as opened:
        yield opened


@pytest.fixture
def subjects() -> Subjects:
    """Names of a fleet that no other test uses."""
    return Subjects(f"t{uuid.uuid4().hex[:8]}")
