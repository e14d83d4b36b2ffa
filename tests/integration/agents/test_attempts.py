"""An agent on a real nats-server: it takes attempts, runs them once, and records how they end."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from outrider.agents import Agent, ErrorClass, Task, TaskError
from outrider.broker.config import NatsSettings
from outrider.broker.messages import Assignment, Renew, Settle, Settled, Verdict
from outrider.broker.outcomes import Failed
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.support.waiting import eventually


def echo_agent(slots: int = 4) -> Agent:
    agent = Agent("a1", slots=slots)

    @agent.handles("echo")
    async def echo(task: Task) -> Any:
        return task.payload

    return agent


class Gate:
    """A handler that waits until it is let go, and tells what it saw."""

    def __init__(self) -> None:
        self.runs = 0
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, task: Task) -> str:
        self.runs += 1
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "done"


def gated(slots: int = 4) -> tuple[Agent, Gate]:
    agent, gate = Agent("a1", slots=slots), Gate()
    agent.handles("wait")(gate)
    return agent, gate


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
        await asyncio.wait_for(gate.cancelled.wait(), 1.0)
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


@pytest.mark.parametrize(
    ("value", "error_class", "says"),
    [
        (object(), ErrorClass.BAD_OUTPUT, "result is a object"),
        ({"a": [1.0, float("nan")]}, ErrorClass.BAD_OUTPUT, "result.a[1] is nan"),
        ({1: 2}, ErrorClass.BAD_OUTPUT, "key 1"),
        (2**70, ErrorClass.BAD_OUTPUT, "cannot be written"),
        ("\ud800", ErrorClass.BAD_OUTPUT, "cannot be written"),
        ("x" * 2_000_000, ErrorClass.TOO_LARGE, "over the limit"),
    ],
)
async def test_a_result_that_cannot_travel_is_a_failure_that_says_why(
    part: Counterpart,
    settings: NatsSettings,
    subjects: Subjects,
    value: Any,
    error_class: ErrorClass,
    says: str,
) -> None:
    agent = Agent("a1")

    @agent.handles("odd")
    async def odd(task: Task) -> Any:
        return value

    async with serving(agent, settings, subjects):
        await part.give("a1", "odd")
        error = (await part.failure()).error
        assert (error.error_class, error.retryable) == (error_class, False)
        assert says in error.message


async def test_what_a_handler_raises_is_recorded_with_its_class_and_what_it_used(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent = Agent("a1")

    @agent.handles("busy")
    async def busy(task: Task) -> None:
        task.usage(tokens_in=7, tokens_out=2, cost_usd=0.5)
        raise TaskError("rate_limited", "come back later", retry_after_s=9.0)

    @agent.handles("buggy")
    async def buggy(task: Task) -> None:
        raise KeyError("nose")

    async with serving(agent, settings, subjects):
        await part.give("a1", "busy")
        await part.give("a1", "buggy", task_id="t2")
        failed = await part.failure()
        assert (failed.error.error_class, failed.error.retry_after_s) == (ErrorClass.RATE_LIMITED, 9.0)
        assert (failed.usage.tokens_in, failed.usage.tokens_out, failed.usage.cost_usd) == (7, 2, 0.5)
        error = (await part.failure("t2")).error
        assert (error.error_class, error.retryable) == (ErrorClass.HANDLER, True)
        assert "KeyError: 'nose'" in error.message


async def test_partial_output_is_whole_in_order_and_stored_before_the_outcome(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, pieces = Agent("a1"), [f"{n}-ü " for n in range(20_000)]

    @agent.handles("talk")
    async def talk(task: Task) -> int:
        for piece in pieces[:10_000]:
            await task.emit(piece)
        await task.emit({"table": [1, 2]})
        for piece in pieces[10_000:]:
            await task.emit(piece)
        await task.emit("y" * 3_000_000)  # larger than any message
        return len(pieces)

    async with serving(agent, settings, subjects):
        await part.give("a1", "talk")
        await part.outcome()
        chunks = await part.chunks()
    assert [c.offset for c in chunks] == list(range(len(chunks)))
    assert [c.data for c in chunks if not isinstance(c.data, str)] == [{"table": [1, 2]}]
    text = "".join(c.data for c in chunks if isinstance(c.data, str))
    assert text == "".join(pieces) + "y" * 3_000_000


async def test_a_stale_epoch_is_refused_by_the_ledger_and_given_up_when_superseded(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        await part.close_task("t1")
        gate.go.set()

        async def settled() -> bool:
            return bool(part.settles)

        await eventually(settled, 10, "the agent asks what became of its epoch")
        assert part.settles[0] == Settle("t1", given.epoch)
        await part.beat_where(lambda b: not b.running and not b.spooled, "nothing is kept")
        assert await part.outcomes() == []


async def test_a_refused_outcome_is_sent_again_with_the_token_that_settle_gives(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        epoch = await part.append_assigned("t1", "a1", "wait")
        await part.assign("a1", Assignment("t1", "wait", 1, epoch, epoch - 1))  # expects too little
        part.on_settle = lambda s: Settled(Verdict.RESEND, s.epoch, epoch)
        gate.go.set()
        assert await part.result() == "done"


async def test_renew_moves_the_token_of_a_running_attempt(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        moved = await part.append_assigned("t1", "other", "wait", attempt=2)
        assert (await part.ask("a1", "renew", Renew("t1", 1, moved, moved))).ok
        gate.go.set()
        outcome = await part.outcome()
        assert outcome.epoch == moved != given.epoch
        assert not part.settles


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
