"""The client's delayed, repeated, unique and debounced submits, through a real orchestrator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.errors import InvalidTask, TaskNotFound
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.client import Client, SyncClient
from tests.integration.orchestrator.conftest import Fleet


@pytest.fixture
async def client(settings: NatsSettings, subjects: Subjects, fleet: Fleet) -> AsyncIterator[Client]:
    async with Client(settings=settings, fleet=subjects.fleet) as opened:
        yield opened


async def test_a_delayed_task_is_waited_for_like_any_other(client: Client, fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task = await client.submit("echo", {"x": 1}, delay_s=0.7)
    assert (await client.get(task.task_id)).state is TaskState.SCHEDULED
    assert [view.task_id for view in await client.tasks("scheduled")] == [task.task_id]

    await agent.succeed(await agent.next_assignment(), {"y": 2})
    assert await task.result(10) == {"y": 2}


async def test_an_instant_may_be_a_datetime_that_knows_its_zone(client: Client, fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task = await client.submit("echo", run_at=datetime.now(UTC) + timedelta(seconds=0.5))
    assert (await agent.next_assignment()).task_id == task.task_id
    with pytest.raises(InvalidTask, match="has no time zone"):
        await client.submit("echo", run_at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is what is refused


async def test_a_scheduled_task_is_seen_without_any_orchestrator(client: Client, fleet: Fleet) -> None:
    await fleet.agent("a1")
    task = await client.submit("echo", delay_s=600)
    await fleet.crash_orchestrator()
    assert (await client.get(task.task_id)).state is TaskState.SCHEDULED


async def test_schedules_are_listed_and_removed(client: Client, fleet: Fleet) -> None:
    await fleet.agent("a1")
    daily = await client.schedule("echo", cron="0 9 * * *", time_zone="Europe/Berlin", key="daily")
    delayed = await client.submit("echo", delay_s=60)
    listed = await client.schedules()
    assert {view.schedule_id for view in listed} == {daily.schedule_id, delayed.task_id}
    found = next(view for view in listed if view.cron)
    assert (found.cron, found.time_zone, found.next_at) == ("0 9 * * *", "Europe/Berlin", daily.next_at)

    await client.unschedule(daily.schedule_id)
    with pytest.raises(TaskNotFound):
        await client.unschedule(daily.schedule_id)
    assert [view.schedule_id for view in await client.schedules()] == [delayed.task_id]


async def test_unique_and_debounced_submits_give_the_task_they_stand_for(
    client: Client, fleet: Fleet
) -> None:
    agent = await fleet.agent("a1")
    first = await client.submit("echo", {"x": 1}, unique=True)
    assert (await client.submit("echo", {"x": 1}, unique=True)).task_id == first.task_id
    await agent.succeed(await agent.next_assignment())

    tasks = [await client.submit("echo", n, debounce_s=0.6, debounce_key="k") for n in range(3)]
    assert len({task.task_id for task in tasks}) == 1
    assignment = await agent.next_assignment()
    await agent.succeed(assignment, assignment.payload)
    assert await tasks[0].result(10) == 2


async def test_the_twin_for_scripts_has_the_same(
    settings: NatsSettings, subjects: Subjects, fleet: Fleet
) -> None:
    await fleet.agent("a1")

    def script() -> list[str]:
        with SyncClient(settings=settings, fleet=subjects.fleet) as client:
            made = client.schedule("echo", cron="@hourly")
            client.submit("echo", delay_s=300).cancel()
            listed = [view.schedule_id for view in client.schedules()]
            assert listed == [made.schedule_id]
            client.unschedule(made.schedule_id)
            return [view.schedule_id for view in client.schedules()]

    assert await asyncio.to_thread(script) == []
