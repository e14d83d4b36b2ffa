"""An agent on a real nats-server: it takes attempts, runs them once, and records how they end."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from outrider.agents import Agent, ErrorClass, Task
from outrider.broker.config import NatsSettings
from outrider.broker.messages import Assignment, Settle
from outrider.broker.outcomes import Failed
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.integration.agents.gates import Gate, echo_agent, gated
from tests.support.waiting import eventually


async def test_a_result_reaches_the_ledger_under_the_epoch_of_its_assignment(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    async with serving(echo_agent(), settings, subjects):
        given = await part.give("a1", "echo", {"x": [1, "ü", None]})
        assert await part.result() == {"x": [1, "ü", None]}
        outcome = await part.outcome()
        assert (outcome.epoch, outcome.attempt, outcome.agent_id) == (given.epoch, 1, "a1")


async def test_join_and_heartbeats_tell_who_the_agent_is(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent = Agent("a1", slots=3, labels=("gpu", "region=eu"))
    gate = Gate()
    agent.handles("wait")(gate)
    async with serving(agent, settings, subjects):
        join = part.joins[0]
        assert (join.agent_id, join.kinds, join.slots, join.labels) == (
            "a1",
            ("wait",),
            3,
            ("gpu", "region=eu"),
        )
        given = await part.give("a1", "wait")
        beat = await part.beat_where(lambda b: b.running == (given.epoch,), "a heartbeat with the epoch")
        assert (beat.instance, beat.state, beat.slots) == (join.instance, "online", 3)
        assert beat.load["cpu"] >= 0
        gate.go.set()
        await part.outcome()
        await part.beat_where(lambda b: not b.running and not b.spooled, "an idle heartbeat")
    assert part.beats[-1].state == "offline"


async def test_an_assignment_that_is_sent_again_runs_once(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        assert (await part.assign("a1", given)).accepted
        gate.go.set()
        assert await part.result() == "done"
        assert (await part.assign("a1", given)).accepted
        assert gate.runs == 1
        assert len(await part.outcomes()) == 1


async def test_full_and_unknown_kinds_are_refused_with_the_reason(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated(slots=1)
    async with serving(agent, settings, subjects):
        await part.give("a1", "wait")
        full = await part.assign("a1", Assignment("t2", "wait", 1, 1000, 1000))
        unknown = await part.assign("a1", Assignment("t3", "paint", 1, 1001, 1001))
        assert (full.accepted, full.reason) == (False, "full")
        assert (unknown.accepted, unknown.reason) == (False, "unknown_kind")
        gate.go.set()
        await part.outcome()
        await part.give("a1", "wait", task_id="t2")


async def test_a_malformed_assignment_gets_one_clear_error_and_the_agent_goes_on(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    async with serving(echo_agent(), settings, subjects):
        answer = await part.connection.request(subjects.agent("a1", "assign"), b'{"task_id": 5}')
        assert b"malformed" in answer.data
        assert b"task_id" in answer.data
        await part.give("a1", "echo", "still here")
        assert await part.result() == "still here"


async def test_cancel_reaches_an_async_handler_within_a_second_and_records_nothing(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated(slots=1)
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        await gate.started.wait()
        assert (await part.cancel("a1", given)).ok
        await asyncio.wait_for(gate.cancelled.wait(), 20)
        gate.go.set()
        await part.give("a1", "wait", task_id="t2")  # the slot is free again
        await part.outcome("t2")
        assert await part.outcomes("t1") == []


async def test_cancel_of_an_attempt_that_is_not_there_says_so(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    async with serving(echo_agent(), settings, subjects):
        assert not (await part.ask("a1", "cancel", Settle("t9", 77))).ok


@pytest.mark.parametrize("limit", ["timeout_s", "deadline_at"])
async def test_own_timeouts_end_as_a_failure_of_class_timeout(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, limit: str
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        if limit == "timeout_s":
            await part.give("a1", "wait", timeout_s=0.2)
        else:
            await part.give("a1", "wait", deadline_at=time.time() + 0.2)
        failed = await part.failure()
        assert gate.cancelled.is_set()
        assert (failed.error.error_class, failed.error.retryable) == (ErrorClass.TIMEOUT, True)


async def test_a_handler_that_swallows_its_timeout_is_recorded_all_the_same(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.agents.attempts.GRACE_S", 0.1)
    agent, go = Agent("a1", slots=1), asyncio.Event()

    @agent.handles("stubborn")
    async def stubborn(task: Task) -> str:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    async with serving(agent, settings, subjects):
        await part.give("a1", "stubborn", timeout_s=0.1)
        assert (await part.failure()).error.error_class is ErrorClass.TIMEOUT
        full = await part.assign("a1", Assignment("t2", "stubborn", 1, 1000, 1000))
        assert full.reason == "full"  # it still holds its slot
        go.set()
    assert len(await part.outcomes()) == 1


async def test_a_sync_handler_runs_in_a_thread_streams_and_sees_its_cancel(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent = Agent("a1", slots=1)
    seen: list[int] = []
    cancelled = threading.Event()

    @agent.handles("count")
    def count(task: Task) -> int:
        seen.append(threading.get_ident())
        for n in range(task.payload):
            task.emit(f"{n} ")
        task.progress(0.5)
        return int(task.payload)

    @agent.handles("spin")
    def spin(task: Task) -> None:
        while not task.cancelled:
            cancelled.wait(0.005)
        cancelled.set()

    async with serving(agent, settings, subjects):
        await part.give("a1", "count", 5000)
        assert await part.result() == 5000
        chunks = await part.chunks()
        assert "".join(c.data for c in chunks if c.data) == "".join(f"{n} " for n in range(5000))
        assert [c.offset for c in chunks] == list(range(len(chunks)))
        assert chunks[-1].progress == 0.5
        assert seen != [threading.get_ident()]
        given = await part.give("a1", "spin", task_id="t2")
        await part.cancel("a1", given)
        assert await asyncio.to_thread(cancelled.wait, 1.0)
        await eventually(lambda: _accepted(part, "count", "t3"), 5, "the slot is free")


async def _accepted(part: Counterpart, kind: str, task_id: str) -> bool:
    epoch = await part.append_assigned(task_id, "a1", kind, 1) if not await part.last_seq(task_id) else 0
    epoch = epoch or await part.last_seq(task_id)
    return bool((await part.assign("a1", Assignment(task_id, kind, 1, epoch, epoch, 1))).accepted)


async def test_a_sync_handler_that_overruns_its_timeout_keeps_its_slot_until_it_returns(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, go = Agent("a1", slots=1), threading.Event()

    @agent.handles("block")
    def block(task: Task) -> None:
        go.wait(20)

    async with serving(agent, settings, subjects):
        await part.give("a1", "block", timeout_s=0.1)
        assert (await part.failure()).error.error_class is ErrorClass.TIMEOUT
        assert (await part.assign("a1", Assignment("t2", "block", 1, 1000, 1000))).reason == "full"
        go.set()


async def test_drain_finishes_what_runs_refuses_the_rest_and_leaves(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects) as stop:
        given = await part.give("a1", "wait")
        done = await part.ask("a1", "drain", replace(Settle("", 0)))
        assert (done.ok, done.in_flight) == (True, 1)
        await part.beat_where(lambda b: b.state == "draining", "a draining heartbeat")
        refused = await part.assign("a1", Assignment("t2", "wait", 1, 1000, 1000))
        assert (refused.accepted, refused.reason) == (False, "draining")
        assert (await part.assign("a1", given)).accepted  # still its own
        gate.go.set()
        assert await part.result() == "done"
        assert not stop.is_set()


async def test_being_cancelled_records_what_ran_as_interrupted(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, _ = gated()
    ready = asyncio.Event()
    serve = asyncio.ensure_future(
        agent.serve(settings, subjects.fleet, asyncio.Event(), lambda _: ready.set())
    )
    await ready.wait()
    await part.give("a1", "wait")
    serve.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serve
    outcome = await part.outcome()
    assert isinstance(outcome, Failed)
    assert (outcome.error.error_class, outcome.error.retryable) == (ErrorClass.INTERRUPTED, True)
