"""What an attempt leaves behind: its outcome, its output, and the token that it is recorded under."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.agents import Agent, ErrorClass, Task, TaskError
from outrider.broker.config import NatsSettings
from outrider.broker.messages import Assignment, Renew, Settle, Settled, Verdict
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.integration.agents.gates import gated
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("value", "error_class", "says"),
    [
        (object(), ErrorClass.BAD_OUTPUT, "result is a object"),
        ({"a": [1.0, float("nan")]}, ErrorClass.BAD_OUTPUT, "result.a[1] is nan"),
        ({1: 2}, ErrorClass.BAD_OUTPUT, "key 1"),
        (2**70, ErrorClass.BAD_OUTPUT, "cannot be written"),
        ("\ud800", ErrorClass.BAD_OUTPUT, "cannot be written"),
        ("x" * (64 * 1024 * 1024), ErrorClass.TOO_LARGE, "over the limit"),
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
