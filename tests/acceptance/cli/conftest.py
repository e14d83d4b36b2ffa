"""One fleet by `outrider up` for the tests of a file: real processes on a private nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.cli.command import Said, outrider
from tests.support.processes import Process


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def up(state: Path) -> Iterator[Process]:
    """A running `outrider up` with two agents for `echo` and `sleep`."""
    arguments = ("up", "--agents", "2", "--kinds", "echo,sleep", "--port", "0", "--json")
    process = Process(*arguments, env={"OUTRIDER_STATE": str(state), "NATS_URL": "", "OUTRIDER_FLEET": ""})
    process.start()
    try:
        asyncio.run(process.ready(within_s=60))
        yield process
    finally:
        asyncio.run(process.stop())


@pytest.fixture
def run(up: Process, state: Path) -> Callable[..., Said]:
    """Commands in another terminal of the same folder."""
    return partial(outrider, env={"OUTRIDER_STATE": str(state)})
