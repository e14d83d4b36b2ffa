"""The sweep ends what waits in vain on a real nats-server: late tasks and nonsense that nobody would pull."""

from __future__ import annotations

import time

import pytest

from outrider.broker.codec import dump, encode
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import Appender
from outrider.broker.states import TaskState
from outrider.orchestrator.config import Thresholds
from tests.integration.orchestrator.conftest import Fleet
from tests.support.waiting import eventually

BRISK = Thresholds(sweep_every_s=0.2)


@pytest.fixture
async def queue(fleet: Fleet) -> Appender:
    """What publishes to TASKS; the fleet sweeps often and has no agent."""
    await fleet.stop()
    await fleet.start_orchestrator(BRISK)
    appender = Appender(fleet.connection)
    await appender.start()
    return appender


async def waiting(fleet: Fleet) -> int:
    info = await fleet.connection.api(f"STREAM.INFO.{fleet.subjects.tasks_stream}")
    return int(info["state"]["messages"])


async def test_a_deadline_that_passes_while_a_task_waits_ends_it(fleet: Fleet, queue: Appender) -> None:
    subjects = fleet.subjects
    late = TaskEnvelope("nobody", {"x": 1}, "late", deadline_at=time.time() - 5)
    soon = TaskEnvelope("nobody", {"x": 2}, "soon", deadline_at=time.time() + 1.5)
    never = TaskEnvelope("nobody", {"x": 3}, "never")
    for envelope in (late, soon, never):
        await queue.append(subjects.task("nobody", 5, envelope.task_id), encode(envelope))

    story = await fleet.ended("late", TaskState.EXPIRED)
    assert story.envelope is not None
    assert story.envelope.payload == {"x": 1}
    await fleet.ended("soon", TaskState.EXPIRED)

    async def one_waits() -> bool:
        return await waiting(fleet) == 1

    await eventually(one_waits, what="the task without a deadline alone")
    assert (await fleet.ledger.story("never")).expect == 0


async def test_what_cannot_be_read_is_dead_and_leaves_the_queue(fleet: Fleet, queue: Appender) -> None:
    fleet_name = fleet.subjects.fleet
    await queue.append(f"{fleet_name}.task.nobody.5.garbage", b"\xc1\xff")
    await queue.append(f"{fleet_name}.task.nobody.first.t1", encode(TaskEnvelope("nobody", None, "t1")))
    await queue.append(f"{fleet_name}.task.nobody.77.t2", encode(TaskEnvelope("nobody", None, "t2")))
    seq = await queue.append(f"{fleet_name}.task.nobody.5.k:v$%", b"{}")

    for task_id in ("garbage", "t1", "t2", f"malformed-{seq}"):
        story = await fleet.ended(task_id, TaskState.DEAD)
        assert (story.view().error or {})["code"] == "malformed"

    async def none_waits() -> bool:
        return await waiting(fleet) == 0

    await eventually(none_waits, what="an empty queue")


async def test_what_the_sweep_gives_up_is_listed_with_the_dead_letters(fleet: Fleet, queue: Appender) -> None:
    await queue.append(f"{fleet.subjects.fleet}.task.nobody.5.garbage", b"\xc1\xff")
    await fleet.ended("garbage", TaskState.DEAD)

    async def is_listed() -> bool:
        answer = await fleet.ask(fleet.subjects.dead, dump({}))
        return [letter["task_id"] for letter in answer["letters"]] == ["garbage"]

    await eventually(is_listed, what="the dead letter")


async def test_a_message_of_a_task_that_the_ledger_knows_goes_without_a_word(
    fleet: Fleet, queue: Appender
) -> None:
    envelope = TaskEnvelope("nobody", None, "twice", deadline_at=time.time() - 5)
    for _ in range(2):
        await queue.append(fleet.subjects.task("nobody", 5, "twice"), encode(envelope))
    await fleet.ended("twice", TaskState.EXPIRED)

    async def none_waits() -> bool:
        return await waiting(fleet) == 0

    await eventually(none_waits, what="an empty queue")
    assert len(await fleet.ledger.stored("twice")) == 1
