"""The life of a task through a real orchestrator and a real nats-server."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from outrider.broker.codec import dump, encode
from outrider.broker.errors import IdempotencyConflict, Refused, TaskNotFound, UnknownKind, WrongSequence
from outrider.broker.messages import Settle, TaskEnvelope, TaskRequest
from outrider.broker.pipeline import Appender, guard
from outrider.broker.states import AgentState, TaskState
from outrider.ledger.entries import Assigned, Ended
from tests.integration.orchestrator.conftest import Fleet
from tests.support.thresholds import QUICK
from tests.support.waiting import eventually


async def test_a_task_is_assigned_durably_before_its_agent_hears_of_it(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit(payload={"x": 7})

    assignment = await agent.next_assignment()
    story = await fleet.ledger.story(task_id)
    assert story.is_live
    assert story.epoch == assignment.epoch
    assert assignment.payload == {"x": 7}

    await agent.succeed(assignment, {"y": 8})
    ended = await fleet.ended(task_id)
    assert ended.view().result == {"y": 8}


async def test_the_queue_holds_waiting_tasks_only(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    for _ in range(3):
        await fleet.submit()
    first = await agent.next_assignment()

    async def waiting_count() -> int:
        info = await fleet.connection.api(f"STREAM.INFO.{fleet.subjects.tasks_stream}")
        return int(info["state"]["messages"])

    async def two_wait() -> bool:
        return await waiting_count() == 2

    await eventually(two_wait, what="two waiting tasks")
    await agent.succeed(first)
    for _ in range(2):
        await agent.succeed(await agent.next_assignment())

    async def none_waits() -> bool:
        return await waiting_count() == 0

    await eventually(none_waits, what="an empty queue")


async def test_the_first_priority_overtakes_what_waits(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    await fleet.submit()
    running = await agent.next_assignment()
    for _ in range(5):
        await fleet.submit(priority=9)
    urgent = await fleet.submit(priority=0)
    await agent.succeed(running)

    assert (await agent.next_assignment()).task_id == urgent


async def test_a_failed_attempt_is_tried_again_with_its_payload(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit(payload={"keep": "me"})
    await agent.fail(await agent.next_assignment())

    second = await agent.next_assignment()
    assert (second.attempt, second.payload) == (2, {"keep": "me"})
    await agent.succeed(second)
    assert (await fleet.ended(task_id)).attempt == 2


async def test_a_task_that_uses_all_its_attempts_is_dead_with_its_errors(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit(max_attempts=2)
    for _ in range(2):
        await agent.fail(await agent.next_assignment())

    story = await fleet.ended(task_id, TaskState.DEAD)
    assert [error.message for error in story.errors] == ["it did not work"] * 2
    assert story.view().error == {"code": "handler", "message": "all 2 attempts are used", "hint": ""}


async def test_an_error_that_cannot_be_retried_is_dead_at_once(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit(max_attempts=5)
    await agent.fail(await agent.next_assignment(), retryable=False)
    assert (await fleet.ended(task_id, TaskState.DEAD)).attempt == 1


async def test_a_rejected_assignment_is_not_charged_and_goes_elsewhere(fleet: Fleet) -> None:
    full = await fleet.agent("full", refuses_with="full")
    task_id = await fleet.submit(max_attempts=1)
    await full.next_assignment()
    willing = await fleet.agent("willing")

    await willing.succeed(await willing.next_assignment())
    story = await fleet.ended(task_id)
    assert story.charged == 0
    assert story.attempt > 1


async def test_an_agent_that_vanishes_loses_its_attempts_to_another(fleet: Fleet) -> None:
    mortal = await fleet.agent("mortal")
    task_id = await fleet.submit()
    lost = await mortal.next_assignment()
    await mortal.vanish()
    heir = await fleet.agent("heir")

    second = await heir.next_assignment()
    assert (second.task_id, second.attempt) == (task_id, 2)
    with pytest.raises(WrongSequence):
        await mortal.succeed(lost)
    await heir.succeed(second)
    await fleet.ended(task_id)


async def test_an_attempt_that_its_agent_does_not_name_in_two_beats_is_lost(fleet: Fleet) -> None:
    forgetful = await fleet.agent("forgetful", slots=1)
    task_id = await fleet.submit()
    first = await forgetful.next_assignment()
    forgetful.running.clear()

    story = await fleet.story_when(task_id, lambda s: s.attempt == 1 and isinstance(s.last, Ended))
    assert isinstance(story.last, Ended)
    assert story.last.type == "lost"
    assert story.last.epoch == first.epoch


async def test_a_silent_agent_is_told_again_and_accepts_by_epoch(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    await agent.vanish()
    await fleet.submit()

    async def is_suspect() -> bool:
        agents = (await fleet.ask(fleet.subjects.agents, b"{}"))["agents"]
        return bool(agents[0]["state"] in ("suspect", "offline"))

    await eventually(is_suspect, what="suspicion")


async def test_a_running_task_can_be_cancelled_and_its_agent_is_told(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    assignment = await agent.next_assignment()

    view = await fleet.ask(fleet.subjects.cancel, encode(TaskRequest(task_id, "not needed")))
    assert view["state"] == "cancelled"
    await agent.cancelled.get()
    with pytest.raises(WrongSequence):
        await agent.succeed(assignment)
    assert (await fleet.ledger.story(task_id)).state is TaskState.CANCELLED


async def test_a_waiting_task_can_be_cancelled(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    await fleet.submit()
    await agent.next_assignment()
    waiting = await fleet.submit()

    view = await fleet.ask(fleet.subjects.cancel, json.dumps({"task_id": waiting}).encode())
    assert view["state"] == "cancelled"
    story = await fleet.ended(waiting, TaskState.CANCELLED)
    assert story.envelope is not None


async def test_cancelling_what_is_finished_changes_nothing(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(task_id)

    view = await fleet.ask(fleet.subjects.cancel, encode(TaskRequest(task_id)))
    assert view["state"] == "succeeded"


async def test_a_deadline_that_passes_while_waiting_expires_the_task(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    await fleet.submit()
    await agent.next_assignment()
    task_id = await fleet.submit(deadline_at=time.time() + 0.3)
    await fleet.ended(task_id, TaskState.EXPIRED)


async def test_an_attempt_past_its_timeout_is_ended_and_tried_again(fleet: Fleet) -> None:
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator(replace(QUICK, timeout_grace_s=0.1))
    agent = await fleet.agent("a1")
    task_id = await fleet.submit(timeout_s=0.2)
    await agent.next_assignment()

    story = await fleet.story_when(task_id, lambda s: s.charged == 1)
    assert story.attempt >= 1
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(task_id)


async def test_labels_decide_who_may_do_a_task(fleet: Fleet) -> None:
    plain = await fleet.agent("plain")
    task_id = await fleet.submit(requires=("gpu",))
    able = await fleet.agent("able", labels=("gpu",))

    assert (await able.next_assignment()).task_id == task_id
    assert plain.assigned.empty()


async def test_an_unreadable_task_is_dead_as_malformed_and_blocks_nobody(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    appender = Appender(fleet.connection)
    await appender.start()
    subject = fleet.subjects.task("echo", 5, "broken")
    await appender.append(subject, b"\xc1 not a task", guard(0, fleet.subjects.task_anywhere("broken")))

    story = await fleet.ended("broken", TaskState.DEAD)
    assert (story.view().error or {})["code"] == "malformed"
    await fleet.submit()
    await agent.succeed(await agent.next_assignment())


async def test_publishing_straight_to_the_queue_is_enough(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    appender = Appender(fleet.connection)
    await appender.start()
    body = encode(TaskEnvelope("echo", "hello", "direct"))
    await appender.append(fleet.subjects.task("echo", 5, "direct"), body)

    await agent.succeed(await agent.next_assignment(), "bye")
    await fleet.ended("direct")


async def test_the_same_task_id_is_the_same_task(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    await fleet.submit(task_id="once")
    await agent.succeed(await agent.next_assignment())
    await fleet.ended("once")

    answer = await fleet.ask(fleet.subjects.submit, dump({"kind": "echo", "task_id": "once"}))
    assert answer["state"] == "succeeded"
    assert agent.assigned.empty()


async def test_an_unknown_kind_is_refused_and_names_the_known_ones(fleet: Fleet) -> None:
    await fleet.agent("a1")
    with pytest.raises(UnknownKind, match="known kinds: echo"):
        await fleet.submit(kind="paint")


async def test_a_task_that_nobody_knows_is_not_found(fleet: Fleet) -> None:
    with pytest.raises(TaskNotFound):
        await fleet.ask(fleet.subjects.get, encode(TaskRequest("nobody-knows")))


async def test_settle_says_what_became_of_an_epoch(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    first = await agent.next_assignment()
    subject = fleet.subjects.agent("a1", "settle")

    async def verdict(epoch: int) -> str:
        answer = await fleet.ask(subject, encode(Settle(task_id, epoch)))
        return str(answer["verdict"])

    assert await verdict(first.epoch) == "resend"
    await agent.fail(first)
    assert await verdict(first.epoch) == "recorded"
    second = await agent.next_assignment()
    assert await verdict(first.epoch) == "recorded"
    await fleet.ask(fleet.subjects.cancel, encode(TaskRequest(task_id)))
    assert await verdict(second.epoch) == "superseded"


async def test_a_live_instance_keeps_its_name(fleet: Fleet) -> None:
    await fleet.agent("a1")
    body = dump({"agent_id": "a1", "instance": "other", "kinds": ["echo"], "slots": 1})
    with pytest.raises(Refused, match="belongs to a live agent"):
        await fleet.ask(fleet.subjects.agent("a1", "join"), body)


async def test_an_entry_that_skips_the_expectation_changes_nothing(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    assignment = await agent.next_assignment()
    hostile = Appender(fleet.connection)
    await hostile.start()
    forged = {"type": "succeeded", "task_id": task_id, "attempt": 1, "agent_id": "a1", "epoch": 1, "v": 1}
    await hostile.append(fleet.subjects.ledger_agent(task_id, "mallory"), dump(forged))

    story = await fleet.ledger.story(task_id)
    assert story.is_live
    assert len(story.ignored) == 1
    settled = await fleet.ask(fleet.subjects.agent("a1", "settle"), encode(Settle(task_id, assignment.epoch)))
    assert settled["verdict"] == "resend"
    assert settled["expect"] > assignment.expect


async def test_the_assignment_says_why_this_agent(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    await agent.next_assignment()
    last = (await fleet.ledger.story(task_id)).last
    assert isinstance(last, Assigned)
    assert last.reason == "fallback_no_router"
    assert last.candidates[0].agent_id == "a1"


async def test_an_agent_that_says_goodbye_is_gone_at_once(fleet: Fleet) -> None:
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator(replace(QUICK, offline_after_s=600.0))
    leaving = await fleet.agent("leaving")
    await leaving.beat(AgentState.OFFLINE)

    async def is_offline() -> bool:
        agents = (await fleet.ask(fleet.subjects.agents, b"{}"))["agents"]
        return bool(agents[0]["state"] == "offline")

    await eventually(is_offline, what="offline")


async def test_an_idempotency_key_stands_for_one_task_and_one_body(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    first = await fleet.submit(idempotency_key="order-7")
    assert await fleet.submit(idempotency_key="order-7") == first
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(first)
    assert await fleet.submit(idempotency_key="order-7") == first
    with pytest.raises(IdempotencyConflict):
        await fleet.submit(idempotency_key="order-7", payload={"x": 2})
    assert agent.assigned.empty()
