"""kill -9 of the orchestrator while limits are reached: they hold after its restart, and all tasks finish."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.follower import StreamReader
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import parse_ledger
from outrider.client import Client, NewTask
from outrider.ledger.reader import record_of
from tests.support.processes import Process
from tests.support.waiting import eventually

KEYS = ("acme", "beta")
EACH, AT_ONCE = 15, 3


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def set_limit_by_command(url: str) -> Any:
    """Each key at most so many at once, set as an operator does; returns the command's document."""
    command = [sys.executable, "-m", "outrider.cli", "limit", "set", "--key", "*", "--json", "--url", url]
    command += ["--concurrency", str(AT_ONCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


async def most_at_once(client: Client, task_ids: set[str]) -> int:
    """How many of these tasks had a live attempt at the same time, by the ledger."""
    reader = StreamReader(client.connection, client.subjects.ledger_stream)
    live: set[str] = set()
    most = 0
    for message in await reader.all_of(client.subjects.all_ledger):
        task_id = parse_ledger(message.subject).task_id
        if record_of(message).entry.type == "assigned":
            live.add(task_id)
        else:
            live.discard(task_id)
        most = max(most, len(live & task_ids))
    return most


@pytest.mark.slow
async def test_limits_hold_when_the_orchestrator_is_killed(
    server: PrivateServer, stack: AsyncExitStack
) -> None:
    env = {"NATS_URL": server.url}
    orchestrator = await stack.enter_async_context(Process("orchestrator", env=env))
    await stack.enter_async_context(
        Process("agent", "--kinds", "sleep", "--name", "a1", "--slots", "20", env=env)
    )
    async with Client(settings=NatsSettings(url=server.url, source="test")) as client:
        shown = await asyncio.to_thread(set_limit_by_command, server.url)
        assert shown["limits"][0]["concurrency"] == AT_ONCE
        orders = [NewTask("sleep", {"seconds": 0.4}, limit_key=key) for _ in range(EACH) for key in KEYS]
        tasks = await client.submit_many(orders)

        async def is_full() -> bool:
            return any(a.in_flight == AT_ONCE * len(KEYS) for a in await client.agents())

        await eventually(is_full, what="both keys at their limit")
        orchestrator.kill()
        orchestrator.start()
        await orchestrator.ready()
        for task in tasks:
            await task.result(timeout_s=60)
        for number, _ in enumerate(KEYS):
            of_key = {task.task_id for task in tasks[number :: len(KEYS)]}
            assert await most_at_once(client, of_key) == AT_ONCE
        limits = await client.limits()
        assert [(one.key, one.in_flight) for one in limits] == [("*", 0)]
