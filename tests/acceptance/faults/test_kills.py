"""kill -9 of an agent, of the orchestrator and of nats-server, in the middle of real work by real processes.

What counts is read from the ledger and from what the client was told, never from the orchestrator's memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.follower import Follower, Stored
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import parse_ledger
from outrider.client import Client, Task
from outrider.ledger.reader import record_of
from outrider.ledger.rules import TERMINAL_TYPES
from tests.support.processes import Process
from tests.support.waiting import eventually

QUICK = {
    "OUTRIDER_PING_EVERY_S": "0.5",
    "OUTRIDER_OWNER_SILENT_S": "2",
    "OUTRIDER_HEARTBEAT_S": "2",
    "OUTRIDER_JOIN_SILENCE_S": "1",
}
TASKS = 40


class Fleet:
    """Real processes on one real server."""

    def __init__(self, server: PrivateServer, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack
        self.url = server.url

    async def start(self, *arguments: str) -> Process:
        process = Process(*arguments, env={"NATS_URL": self.url, **QUICK})
        await self._stack.enter_async_context(process)
        return process

    async def agent(self, name: str) -> Process:
        return await self.start("agent", "--kinds", "sleep", "--name", name, "--slots", "8")


@pytest.fixture
async def fleet(server: PrivateServer) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        yield Fleet(server, stack)


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[Client]:
    async with Client(settings=NatsSettings(url=fleet.url, source="test")) as opened:
        yield opened


async def submit_all(client: Client, seconds: float) -> list[Task]:
    return await client.submit_many(("sleep", {"seconds": seconds, "number": n}) for n in range(TASKS))


async def some_run(client: Client, on: str) -> None:
    """Wait until the agent really has work in flight."""

    async def busy() -> bool:
        return any(a.agent_id == on and a.in_flight >= 4 for a in await client.agents())

    await eventually(busy, what=f"work on {on}")


async def assert_each_recorded_once(client: Client, tasks: list[Task]) -> Counter[str]:
    """Every task succeeded, and LEDGER holds exactly one terminal entry for each; returns entry counts."""
    for task in tasks:
        await task.result(timeout_s=60)
    terminal: Counter[str] = Counter()
    types: Counter[str] = Counter()

    async def count(stored: Stored) -> None:
        entry = record_of(stored).entry
        types[entry.type] += 1
        if entry.type in TERMINAL_TYPES:
            terminal[parse_ledger(stored.subject).task_id] += 1

    subjects = client.subjects
    follower = Follower(client.connection, subjects.ledger_stream, [subjects.all_ledger], count)
    async with asyncio.TaskGroup() as group:
        group.create_task(follower.run())
        await follower.caught_up.wait()
        follower.stop()
    assert terminal == Counter({task.task_id: 1 for task in tasks})
    return types


@pytest.mark.slow
async def test_tasks_of_a_killed_agent_finish_elsewhere(fleet: Fleet, client: Client) -> None:
    await fleet.start("orchestrator")
    mortal = await fleet.agent("mortal")
    await fleet.agent("heir")
    tasks = await submit_all(client, 0.4)
    await some_run(client, "mortal")
    mortal.kill()

    types = await assert_each_recorded_once(client, tasks)
    assert types["lost"] >= 4
    moved = [view for view in [await t.view() for t in tasks] if view.attempts > 1]
    assert moved
    assert {view.agent for view in moved} == {"heir"}


@pytest.mark.slow
async def test_a_killed_orchestrator_goes_on_after_its_restart(fleet: Fleet, client: Client) -> None:
    mortal = await fleet.start("orchestrator")
    await fleet.agent("one")
    await fleet.agent("two")
    tasks = await submit_all(client, 0.4)
    await some_run(client, "one")
    mortal.kill()
    await fleet.start("orchestrator")

    types = await assert_each_recorded_once(client, tasks)
    assert types["assigned"] == TASKS


@pytest.mark.slow
async def test_everybody_comes_back_after_the_server_was_killed(fleet: Fleet, client: Client) -> None:
    await fleet.start("orchestrator")
    await fleet.start("router")
    await fleet.agent("one")
    await fleet.agent("two")
    tasks = await submit_all(client, 0.4)
    await some_run(client, "one")
    fleet.server.kill()
    await fleet.server.start()

    await assert_each_recorded_once(client, tasks)
    again = await client.submit("sleep", {"seconds": 0.01})
    await again.result(timeout_s=30)
