"""The token of a live attempt moves: forward only, also for an outcome that waits on disk."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.agents import Task, attempts
from outrider.broker.config import NatsSettings
from outrider.broker.messages import Assignment, CancelAttempt, Renew, Settled, Verdict
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.integration.agents.gates import gated
from tests.support.waiting import eventually


async def test_an_older_or_repeated_renew_changes_nothing(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        moved = await part.append_assigned("t1", "other", "wait", attempt=2)
        newest = Renew("t1", 1, moved, moved)
        for renew in (newest, newest, Renew("t1", 1, given.epoch, given.expect)):
            assert (await part.ask("a1", "renew", renew)).ok
        await part.beat_where(lambda b: b.running == (moved,), "the new epoch in a heartbeat")
        gate.go.set()
        assert (await part.outcome()).epoch == moved
        assert gate.runs == 1


async def test_what_it_does_not_have_is_answered_no(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        for renew in (Renew("t9", 1, 90, 90), Renew("t1", 2, 90, 90)):
            answer = await part.ask("a1", "renew", renew)
            assert (answer.ok, answer.in_flight) == (False, 1)
        gate.go.set()
        assert (await part.outcome()).epoch == given.epoch


async def test_after_a_renew_it_is_stopped_by_its_new_name_and_not_started_by_its_old(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        await gate.started.wait()
        moved = await part.append_assigned("t1", "other", "wait", attempt=2)
        await part.ask("a1", "renew", Renew("t1", 1, moved, moved))
        assert (await part.assign("a1", given)).accepted
        assert gate.runs == 1
        assert not (await part.ask("a1", "cancel", CancelAttempt("t1", given.epoch))).ok
        assert (await part.ask("a1", "cancel", CancelAttempt("t1", moved))).ok
        await gate.cancelled.wait()
        assert await part.outcomes() == []


async def test_a_live_attempt_is_not_started_again_after_thousands_of_others(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "REMEMBERED_EPOCHS", 2)
    agent, gate = gated()
    agent.handles("echo")(echoed)
    async with serving(agent, settings, subjects):
        given = await part.give("a1", "wait")
        await gate.started.wait()
        moved = await part.append_assigned("t1", "other", "wait", attempt=2)
        await part.ask("a1", "renew", Renew("t1", 1, moved, moved))
        for number in range(4):
            await part.give("a1", "echo", task_id=f"other{number}")
            await part.outcome(f"other{number}")
        for _ in range(2):
            assert (await part.assign("a1", given)).accepted
        await part.beat_where(lambda b: b.running == (moved,), "one attempt in a heartbeat")
        gate.go.set()
        assert (await part.outcome()).epoch == moved
        assert gate.runs == 1


async def test_an_attempt_whose_outcome_waits_is_not_started_again(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "REMEMBERED_EPOCHS", 2)
    agent, gate = gated()
    agent.handles("echo")(echoed)
    async with serving(agent, settings, subjects):
        epoch = await part.append_assigned("t1", "a1", "wait")
        wrong = epoch - 1
        part.on_settle = lambda s: Settled(Verdict.RESEND, s.epoch, wrong if s.task_id == "t1" else s.epoch)
        given = Assignment("t1", "wait", 1, epoch, wrong)
        await part.assign("a1", given)
        gate.go.set()
        await part.beat_where(lambda b: b.spooled == (epoch,), "an outcome that waits")
        for number in range(4):
            await part.give("a1", "echo", task_id=f"other{number}")
            await part.outcome(f"other{number}")
        assert (await part.assign("a1", given)).accepted
        part.on_settle = lambda s: Settled(Verdict.RESEND, s.epoch, epoch)
        await part.outcome()
        assert gate.runs == 1


async def echoed(task: Task) -> Any:
    return task.payload


async def test_an_outcome_that_waits_takes_the_new_token(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent, gate = gated()
    async with serving(agent, settings, subjects):
        epoch = await part.append_assigned("t1", "a1", "wait")
        wrong = epoch - 1
        part.on_settle = lambda s: Settled(Verdict.RESEND, s.epoch, wrong)
        await part.assign("a1", Assignment("t1", "wait", 1, epoch, wrong))
        gate.go.set()

        async def waits() -> bool:
            return bool(part.settles)

        await eventually(waits, what="a refused outcome")
        moved = await part.append_assigned("t1", "other", "wait", attempt=2)
        part.on_settle = lambda s: Settled(Verdict.RESEND, s.epoch, moved if s.epoch == moved else wrong)
        assert (await part.ask("a1", "renew", Renew("t1", 1, moved, moved))).ok
        assert (await part.outcome()).epoch == moved
