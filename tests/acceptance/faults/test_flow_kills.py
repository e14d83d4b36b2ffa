"""kill -9 of the orchestrator between a parent and its child, and amid a group, with real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.server import PrivateServer
from outrider.broker.states import TaskState
from outrider.client import Client, NewTask
from tests.support.processes import Process
from tests.support.waiting import eventually

QUICK = {"OUTRIDER_PING_EVERY_S": "0.5", "OUTRIDER_OWNER_SILENT_S": "2", "OUTRIDER_HEARTBEAT_S": "2"}


class Fleet:
    """Real processes on one real server."""

    def __init__(self, server: PrivateServer, stack: AsyncExitStack) -> None:
        self._server = server
        self._stack = stack

    async def start(self, *arguments: str) -> Process:
        process = Process(*arguments, env={"NATS_URL": self._server.url, **QUICK})
        await self._stack.enter_async_context(process)
        return process


@pytest.fixture
async def fleet(server: PrivateServer) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        yield Fleet(server, stack)


@pytest.fixture
async def client(server: PrivateServer) -> AsyncIterator[Client]:
    async with Client(settings=NatsSettings(url=server.url, source="test")) as opened:
        yield opened


async def in_state(client: Client, task_id: str, *states: TaskState) -> None:
    async def is_there() -> bool:
        return (await client.get(task_id)).state in states

    await eventually(is_there, what=f"{task_id} in {states}")


@pytest.mark.slow
async def test_a_chain_goes_on_after_kill_9_between_parent_and_child(fleet: Fleet, client: Client) -> None:
    mortal = await fleet.start("orchestrator")
    await fleet.start("agent", "--kinds", "sleep,echo", "--name", "one", "--slots", "4")
    parent = await client.submit("sleep", {"seconds": 2.0})
    child = await client.submit("echo", {"is": "child"}, after=[parent])
    last = await client.submit("echo", {"is": "last"}, after=[child])
    await in_state(client, last.task_id, TaskState.BLOCKED)
    await in_state(client, parent.task_id, TaskState.ASSIGNED, TaskState.RUNNING)
    mortal.kill()
    await parent.result(30)
    await fleet.start("orchestrator")

    assert await last.result(30) == {"is": "last"}
    ends = [(await task.ended()).attempts for task in (parent, child, last)]
    assert ends == [1, 1, 1]


@pytest.mark.slow
async def test_a_hook_runs_once_although_orchestrators_are_killed(fleet: Fleet, client: Client) -> None:
    first = await fleet.start("orchestrator")
    await fleet.start("agent", "--kinds", "sleep,echo", "--name", "one", "--slots", "8")
    tasks = [NewTask("sleep", {"seconds": 0.3, "number": number}) for number in range(24)]
    group = await client.submit_many(tasks, group=True, hook=NewTask("echo", {"is": "hook"}))
    hook = await group.hook()
    await in_state(client, hook.task_id, TaskState.BLOCKED)
    second = await fleet.start("orchestrator")
    first.kill()
    await in_state(client, group.tasks[12].task_id, TaskState.SUCCEEDED)
    second.kill()
    await fleet.start("orchestrator")

    assert await hook.result(60) == {"is": "hook"}
    assert (await group.progress()).states == {"succeeded": 24}
    entries = [story.last for story in await client.reader.stories([hook.task_id])]
    assert [entry.type for entry in entries if entry is not None] == ["succeeded"]
