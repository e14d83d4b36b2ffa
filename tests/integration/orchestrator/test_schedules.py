"""Delay, run_at and cron through a real orchestrator and the schedules of a real nats-server."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from outrider.broker.codec import dump
from outrider.broker.errors import IdempotencyConflict, InvalidTask, QueueFull, TaskNotFound
from outrider.broker.follower import StreamReader
from outrider.broker.messages import TaskEnvelope
from outrider.broker.scheduling import SubmitOptions
from outrider.broker.server import PrivateServer
from outrider.broker.states import TaskState
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.due import identity_of
from outrider.orchestrator.scheduled import Scheduled
from tests.integration.orchestrator.conftest import Fleet
from tests.support.waiting import eventually


async def submit(fleet: Fleet, **body: Any) -> dict[str, Any]:
    answer = await fleet.ask(fleet.subjects.submit, dump({"kind": "echo", "payload": {"x": 1}} | body))
    assert isinstance(answer, dict)
    return answer


async def view(fleet: Fleet, task_id: str) -> dict[str, Any]:
    found = await fleet.ask(fleet.subjects.get, dump({"task_id": task_id}))
    assert isinstance(found, dict)
    return found


async def in_stream(fleet: Fleet, stream: str) -> int:
    return int((await fleet.connection.api(f"STREAM.INFO.{stream}"))["state"]["messages"])


async def test_a_delayed_task_is_scheduled_and_runs_when_its_time_has_come(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    before = time.time()
    answer = await submit(fleet, delay_s=0.8)
    assert answer["state"] == "scheduled"
    shown = await view(fleet, answer["task_id"])
    assert shown["state"] == "scheduled"
    assert 0.5 < shown["run_at"] - before < 3.0

    assignment = await agent.next_assignment()
    assert (assignment.task_id, assignment.payload) == (answer["task_id"], {"x": 1})
    assert time.time() >= before + 0.8
    await agent.succeed(assignment)
    await fleet.ended(answer["task_id"])
    assert await in_stream(fleet, fleet.subjects.later_stream) == 0


async def test_an_instant_is_given_with_run_at_and_must_not_be_past(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    answer = await submit(fleet, run_at=time.time() + 0.5)
    assert (await agent.next_assignment()).task_id == answer["task_id"]
    with pytest.raises(InvalidTask, match="in the past, by 60 s"):
        await submit(fleet, run_at=time.time() - 60)
    with pytest.raises(InvalidTask, match="deadline passes 9 s before"):
        await submit(fleet, delay_s=10, deadline_at=time.time() + 1)


async def test_a_scheduled_task_can_be_cancelled(fleet: Fleet) -> None:
    await fleet.agent("a1")
    task_id = (await submit(fleet, delay_s=60))["task_id"]
    cancelled = await fleet.ask(fleet.subjects.cancel, dump({"task_id": task_id}))
    assert cancelled["state"] == "cancelled"
    await fleet.ended(task_id, TaskState.CANCELLED)
    assert (await view(fleet, task_id))["state"] == "cancelled"
    assert await in_stream(fleet, fleet.subjects.later_stream) == 0


async def test_a_cron_schedule_makes_a_task_at_each_fire_until_it_is_removed(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    schedule_id = (await submit(fleet, cron="* * * * * *", deadline_at=time.time() + 30))["task_id"]
    first, second = await agent.next_assignment(), await agent.next_assignment()
    assert first.task_id != second.task_id
    assert all(a.task_id.rpartition("-")[0] == schedule_id for a in (first, second))
    assert second.deadline_at is not None
    assert second.deadline_at > time.time() + 25
    assert (await view(fleet, schedule_id))["state"] == "scheduled"

    removed = await fleet.ask(fleet.subjects.cancel, dump({"task_id": schedule_id}))
    assert removed["state"] == "cancelled"
    with pytest.raises(TaskNotFound):
        await view(fleet, schedule_id)


async def test_five_fields_and_a_time_zone_mean_what_people_expect(fleet: Fleet) -> None:
    await fleet.agent("a1")
    answer = await submit(fleet, cron="30 9 * * mon-fri", time_zone="Asia/Kolkata")
    shown = await view(fleet, answer["task_id"])
    due = datetime.fromtimestamp(shown["run_at"], ZoneInfo("Asia/Kolkata"))
    assert (due.hour, due.minute, due.second) == (9, 30, 0)
    assert due.isoweekday() <= 5

    stored = (await StreamReader(fleet.connection, fleet.subjects.later_stream).all_of(">"))[-1]
    message = await fleet.connection.request(
        f"$JS.API.DIRECT.GET.{fleet.subjects.later_stream}", b'{"seq":%d}' % stored.seq
    )
    assert message.headers["Nats-Schedule"] == "0 30 9 * * mon-fri"
    assert message.headers["Nats-Schedule-Time-Zone"] == "Asia/Kolkata"


async def test_the_server_keeps_the_time_of_the_zone(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    there = datetime.now(ZoneInfo("Asia/Kathmandu")) + timedelta(seconds=3)
    cron = f"{there.second} {there.minute} {there.hour} {there.day} {there.month} *"
    answer = await submit(fleet, cron=cron, time_zone="Asia/Kathmandu")
    assert (await agent.next_assignment(10)).task_id.startswith(answer["task_id"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cron": "61 * * * *"}, "minute '61': 61 is not between 0 and 59"),
        ({"cron": "* * *"}, "has 3 fields instead of 5 or 6"),
        ({"cron": "0 0 30 2 *"}, "never fires"),
        ({"cron": "0 9 * * *", "time_zone": "Europe/Berln"}, "time zone 'Europe/Berln' is not known"),
        ({"time_zone": "Europe/Berlin"}, "time_zone goes with cron only"),
        ({"cron": "0 9 * * *", "delay_s": 5}, "delay_s and cron exclude each other"),
        ({"delay_s": -1}, "delay_s -1 is not between"),
        ({"run_at": 1.8e12}, "more than ten years ahead"),
        ({"debounce_s": 3}, "debounce_s and debounce_key go together"),
        ({"cron": "* * * * *", "task_id": "x" * 60}, "at most 43 signs"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_reason(
    fleet: Fleet, wrong: dict[str, Any], says: str
) -> None:
    await fleet.agent("a1")
    with pytest.raises(InvalidTask, match=says.replace("(", r"\(")):
        await submit(fleet, **wrong)


async def test_the_same_submit_again_is_the_same_schedule(fleet: Fleet) -> None:
    await fleet.agent("a1")
    first = await submit(fleet, cron="0 9 * * *", idempotency_key="nightly")
    assert await submit(fleet, cron="0 9 * * *", idempotency_key="nightly") == first
    with pytest.raises(IdempotencyConflict, match="another schedule"):
        await submit(fleet, cron="0 10 * * *", idempotency_key="nightly")
    assert await in_stream(fleet, fleet.subjects.later_stream) == 1


async def test_the_number_of_schedules_is_bounded(fleet: Fleet) -> None:
    await fleet.stop()
    await fleet.start_orchestrator(Thresholds(most_schedules=2))
    await fleet.agent("a1")
    for _ in range(2):
        await submit(fleet, delay_s=600)
    with pytest.raises(QueueFull, match="2 schedules"):
        await submit(fleet, delay_s=600)


async def test_a_time_that_passes_while_everything_is_down_is_kept(
    fleet: Fleet, server: PrivateServer
) -> None:
    agent = await fleet.agent("a1", slots=10)
    task_ids = {(await submit(fleet, delay_s=1.0 + number / 10))["task_id"] for number in range(5)}
    await fleet.crash_orchestrator()
    server.kill()
    await server.start()
    await fleet.start_orchestrator()
    await fleet.until_served()
    await agent.join()
    ran = [(await agent.next_assignment(30)).task_id for _ in task_ids]
    assert set(ran) == task_ids
    assert len(ran) == len(task_ids)


async def test_a_fire_that_a_killed_server_repeats_counts_once(fleet: Fleet, server: PrivateServer) -> None:
    agent = await fleet.agent("a1", slots=100)
    schedule_id = (await submit(fleet, cron="*/4 * * * * *"))["task_id"]
    await _end_in_good_order(server)  # only then does the server note its schedules on disk
    await server.start()
    await fleet.until_served()
    await agent.join()
    first = (await agent.next_assignment()).task_id
    ticks = {first: await _tick_of(fleet, first)}
    server.kill()
    await server.start()
    await fleet.until_served()
    await agent.join()

    async def two_fires_later() -> bool:
        while not agent.assigned.empty():
            task_id = agent.assigned.get_nowait().task_id
            ticks[task_id] = await _tick_of(fleet, task_id)
        return len(ticks) >= 3

    await eventually(two_fires_later, within_s=30, what="the fires after the restart")
    assert len(set(ticks.values())) == len(ticks), (schedule_id, ticks)


async def _end_in_good_order(server: PrivateServer) -> None:
    os.kill(server.pid, signal.SIGTERM)

    async def has_ended() -> bool:
        return server._process is not None and server._process.poll() is not None

    await eventually(has_ended, what="the end of the server")


async def _tick_of(fleet: Fleet, task_id: str) -> int:
    """Which time of the pattern a task belongs to: seconds of four since 1970."""
    envelope = (await fleet.story_when(task_id, lambda s: s.envelope is not None)).envelope
    assert envelope is not None
    return int(envelope.submitted_at // 4)


async def test_a_fire_that_was_noted_but_never_queued_runs_when_the_server_repeats_it(fleet: Fleet) -> None:
    """Its message went with the leader that made it, after an orchestrator had noted the fire."""
    agent, s, now = await fleet.agent("a1"), fleet.subjects, time.time()
    envelope = TaskEnvelope("echo", {"x": 1}, "nightly", submitted_at=now)
    nightly = Scheduled(envelope, SubmitOptions(cron="0 3 * * *"))
    noted = {"schedule": identity_of(nightly), "fires": [[0, now, now + 60.0]]}
    await fleet.connection.request(s.key("cron-nightly"), dump(noted))
    for _ in range(2):
        await fleet.connection.request(s.due("echo", 5, "nightly"), nightly.body())
    assignment = await agent.next_assignment()
    assert assignment.task_id == "nightly-0"
    await agent.succeed(assignment)

    async def all_is_done() -> bool:
        return not await in_stream(fleet, s.later_stream) and not await in_stream(fleet, s.tasks_stream)

    await eventually(all_is_done, what="both repeats are moved and done")
    assert len(await fleet.ledger.stored("nightly-0")) == 2, "it was assigned once and succeeded once"
