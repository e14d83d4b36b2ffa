"""A task's way through the client: submitted once, its end learned for certain whatever else is said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outrider.broker.codec import encode
from outrider.broker.config import NatsSettings
from outrider.broker.outcomes import Succeeded
from outrider.broker.server import PrivateServer
from outrider.client import (
    Client,
    NatsUnavailable,
    NewTask,
    NobodyAnswers,
    OutriderError,
    TaskCancelled,
    TaskDead,
    TaskExpired,
    TaskNotFound,
    TaskState,
    TimedOut,
    UnknownKind,
)
from outrider.client.watching import FEW
from tests.integration.client.counterpart import Counterpart
from tests.support.waiting import eventually


async def test_a_result_comes_back_with_what_was_predicted(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {"prompt": "hi"}, priority=3, timeout_s=9, requires=["gpu"])
    envelope = await fleet.envelope(task.task_id)
    assert (envelope.kind, envelope.payload, envelope.priority) == ("chat", {"prompt": "hi"}, 3)
    assert (envelope.timeout_s, envelope.requires) == (9, ("gpu",))

    epoch = await fleet.take(task.task_id)
    await fleet.succeed(task.task_id, epoch, {"text": "hello"})
    assert await task.result(10) == {"text": "hello"}
    view = await task.ended()
    assert (view.state, view.agent, view.attempts) == (TaskState.SUCCEEDED, "a-1", 1)
    assert (view.predicted_s, view.service_s) == (0.5, 0.25)
    assert view.sojourn_s is not None


@pytest.mark.parametrize(
    ("end", "error"), [("dead", TaskDead), ("cancelled", TaskCancelled), ("expired", TaskExpired)]
)
async def test_an_end_without_a_result_is_an_error_that_carries_the_task(
    client: Client, fleet: Counterpart, end: str, error: type[TaskDead]
) -> None:
    task = await client.submit("chat", {})
    await fleet.close(task.task_id, end, "because of the test")
    with pytest.raises(error, match="because of the test") as raised:
        await task.result(10)
    assert raised.value.view is not None
    assert (raised.value.view.state, raised.value.view.task_id) == (TaskState(end), task.task_id)


async def test_waiting_ends_in_time_and_the_task_goes_on(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    with pytest.raises(TimedOut, match=task.task_id):
        await task.result(0.05)
    await fleet.succeed(task.task_id, await fleet.take(task.task_id), 1)
    assert await task.result(10) == 1


async def test_what_another_agent_or_a_stale_one_says_does_not_end_a_task(
    client: Client, fleet: Counterpart
) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    await fleet.append(
        fleet.subjects.ledger_agent(task.task_id, "a-2"), Succeeded(task.task_id, 1, "a-2", epoch, "forged")
    )
    await fleet.append(
        fleet.subjects.ledger_agent(task.task_id, "a-1"),
        Succeeded(task.task_id, 1, "a-1", epoch - 1, "stale"),
    )
    await fleet.succeed(task.task_id, epoch, "true")
    assert await task.result(10) == "true"


async def test_a_lost_live_message_hangs_nobody(
    client: Client, fleet: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.client.watching.READ_EVERY_S", 0.2)
    monkeypatch.setattr("outrider.client.watching.SWEEP_EVERY_S", 0.1)
    task = await client.submit("chat", {})

    async def unhear(message: Any) -> None:
        """Drop what arrives."""

    monkeypatch.setattr(client._watcher, "_received", unhear)
    for subscription in client._watcher._singles.values():
        await subscription.unsubscribe()
    await client.connection.settle()
    await fleet.succeed(task.task_id, await fleet.take(task.task_id), "found by reading")
    assert await task.result(10) == "found by reading"


async def test_a_live_message_that_nobody_stored_ends_nothing(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    waiting = asyncio.create_task(task.result(10))
    forged = encode(Succeeded(task.task_id, 1, "a-1", epoch + 7, "forged"))
    headers = {"Nats-Sequence": str(epoch + 9), "Nats-Time-Stamp": "2026-11-22T10:00:00.5Z"}
    await fleet.connection.publish(
        f"{fleet.subjects.fleet}.live.{task.task_id}.agent.a-1", forged, "", headers
    )
    await fleet.connection.settle()
    await fleet.succeed(task.task_id, epoch, "stored")
    assert await waiting == "stored"


async def test_many_tasks_at_once_share_one_subscription(client: Client, fleet: Counterpart) -> None:
    await fleet.serve_echo()
    tasks = await client.submit_many([NewTask("echo", n) for n in range(300)])
    assert client._watcher._singles == {}
    results = await asyncio.gather(*(task.result(30) for task in tasks))
    assert results == list(range(300))


async def test_one_after_another_leaves_no_subscription_behind(client: Client, fleet: Counterpart) -> None:
    await fleet.serve_echo()
    for n in range(2 * FEW):
        assert await (await client.submit("echo", n)).result(10) == n

    async def none_left() -> bool:
        return not client._watcher._singles

    await eventually(none_left)


async def test_the_fleet_is_asked_for_kinds_once_in_a_while(client: Client, fleet: Counterpart) -> None:
    for _ in range(20):
        await client.submit("echo", 1)
    assert fleet.asked == 1


async def test_an_unknown_kind_is_refused_and_the_known_ones_named(
    client: Client, fleet: Counterpart
) -> None:
    with pytest.raises(UnknownKind, match=r"'paint'.*chat, echo, summarize"):
        await client.submit("paint", {})
    assert await fleet.waiting() == 0


async def test_a_kind_with_nobody_online_is_accepted_with_a_warning(client: Client) -> None:
    task = await client.submit("summarize", {"text": "..."})
    assert task.warning is not None
    assert "'summarize'" in task.warning
    assert (await client.submit("chat", {})).warning is None
    labelled = await client.submit("chat", {}, requires=["gpu"])
    assert labelled.warning is not None
    assert "gpu" in labelled.warning


async def test_one_bad_task_of_many_sends_nothing(client: Client, fleet: Counterpart) -> None:
    with pytest.raises(UnknownKind):
        await client.submit_many([("echo", 1), ("paint", 2)])
    assert await fleet.waiting() == 0


async def test_a_fleet_without_an_orchestrator_still_accepts(
    settings: NatsSettings, fleet: Counterpart
) -> None:
    await fleet.endpoints.stop()
    async with Client(settings=settings, fleet=fleet.subjects.fleet) as client:
        task = await client.submit("anything", {})
        assert task.warning is not None
        assert "no orchestrator" in task.warning
    assert await fleet.waiting() == 1


async def test_a_fleet_that_never_ran_says_so(settings: NatsSettings) -> None:
    async with Client(settings=settings, fleet="never") as client:
        with pytest.raises(NobodyAnswers, match="no orchestrator ever ran"):
            await client.submit("chat", {})


async def test_a_task_of_somebody_else_is_found_by_its_id(
    settings: NatsSettings, client: Client, fleet: Counterpart
) -> None:
    first = await client.submit("chat", {"n": 1})
    async with Client(settings=settings, fleet=fleet.subjects.fleet) as other:
        same = await other.task(first.task_id)
        assert (await same.view()).state is TaskState.QUEUED
        await fleet.succeed(first.task_id, await fleet.take(first.task_id), "done")
        assert await same.result(10) == "done"
        late = await other.task(first.task_id)
        assert late.is_over
        assert (await late.view()).result == "done"
        with pytest.raises(TaskNotFound):
            await other.task("no-such-task")
        with pytest.raises(TaskNotFound):
            await other.get("no-such-task")


async def test_waiting_running_and_finished_tasks_are_listed_newest_first(
    client: Client, fleet: Counterpart
) -> None:
    finished, running, waiting = [await client.submit("chat", n) for n in range(3)]
    await fleet.succeed(finished.task_id, await fleet.take(finished.task_id), 0)
    await fleet.take(running.task_id)
    listed = await client.tasks()
    assert [(view.task_id, view.state) for view in listed] == [
        (waiting.task_id, TaskState.QUEUED),
        (running.task_id, TaskState.ASSIGNED),
        (finished.task_id, TaskState.SUCCEEDED),
    ]
    assert [view.task_id for view in await client.tasks(limit=1)] == [waiting.task_id]
    assert [view.task_id for view in await client.tasks(state="succeeded")] == [finished.task_id]


async def test_the_states_of_a_task_are_told_until_its_end(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    seen = []
    epoch = 0
    async for view in task.states():
        seen.append(view.state)
        if view.state is TaskState.QUEUED:
            epoch = await fleet.take(task.task_id)
        elif view.state is TaskState.ASSIGNED:
            await fleet.succeed(task.task_id, epoch, 1)
    assert seen == [TaskState.QUEUED, TaskState.ASSIGNED, TaskState.SUCCEEDED]


async def test_a_connection_that_is_gone_for_good_ends_the_waiting(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    task = await client.submit("chat", {})
    waiting = asyncio.create_task(task.result(30))
    await eventually(_is_awaited(client, task.task_id))
    await client.connection.client.close()
    with pytest.raises(NatsUnavailable, match="closed for good"):
        await waiting
    with pytest.raises(NatsUnavailable):
        await task.result(30)
    assert "the client stopped" in caplog.text


async def test_closing_the_client_ends_the_waiting(settings: NatsSettings, fleet: Counterpart) -> None:
    async with Client(settings=settings, fleet=fleet.subjects.fleet) as client:
        task = await client.submit("chat", {})
        waiting = asyncio.create_task(task.result(30))
        await eventually(_is_awaited(client, task.task_id))
    with pytest.raises(OutriderError, match="closed"):
        await waiting


def _is_awaited(client: Client, task_id: str) -> Any:
    async def check() -> bool:
        return task_id in client._watcher._awaited

    return check


async def test_a_crash_of_the_server_loses_and_doubles_nothing(
    server: PrivateServer, client: Client, fleet: Counterpart
) -> None:
    before = await client.submit("echo", "before")
    waiting = asyncio.create_task(before.result(60))
    server.kill()
    during = asyncio.create_task(client.submit("echo", "during"))
    await server.start()
    submitted = await during
    await eventually(_is_back(fleet), what="the counterpart's reconnect")
    assert await fleet.waiting() == 2
    await fleet.serve_echo()
    assert await waiting == "before"
    assert await submitted.result(60) == "during"


def _is_back(fleet: Counterpart) -> Any:
    async def check() -> bool:
        return fleet.connection.is_connected

    return check
