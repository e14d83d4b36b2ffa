"""One fleet by `outrider up` for the tests of a file: real processes on a private nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.cli.command import Said, outrider
from tests.support.processes import Process
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


async def _all_ready(up: Process) -> None:
    """Its one document is printed when every part is ready."""
    await up.ready(within_s=60)

    async def has_document() -> bool:
        return bool(up.out.strip())

    await eventually(has_document, 60, "the document of outrider up")


@pytest.fixture(scope="module")
def up(state: Path) -> Iterator[Process]:
    """A running `outrider up` with two agents for `echo` and `sleep`."""
    arguments = ("up", "--agents", "2", "--kinds", "echo,sleep", "--port", "0", "--json")
    process = Process(*arguments, env={"OUTRIDER_STATE": str(state), "NATS_URL": "", "OUTRIDER_FLEET": ""})
    process.start()
    try:
        asyncio.run(_all_ready(process))
        yield process
    finally:
        asyncio.run(process.stop())


@pytest.fixture
def run(up: Process, state: Path) -> Callable[..., Said]:
    """Commands in another terminal of the same folder."""
    return partial(outrider, env={"OUTRIDER_STATE": str(state)})
