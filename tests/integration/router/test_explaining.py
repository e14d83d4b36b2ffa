"""`outrider router explain` says what stands in the ledger, on a real nats-server."""

from __future__ import annotations

import uuid

import pytest

from outrider.broker.codec import encode
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import InvalidName, TaskNotFound
from outrider.broker.pipeline import Appender
from outrider.broker.routing import Candidate, Out, PassedOver, RouteReason, WhyOut
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned
from outrider.router.explaining import explain_task

CANDIDATES = (Candidate("fast", 0.5, 1.0, 2.0, 1.5), Candidate("slow", 0.0, 4.0, 7.0, 4.0))


async def test_each_attempt_with_its_candidates_reason_and_model(
    connection: Connection, settings: NatsSettings, subjects: Subjects
) -> None:
    await ensure_streams(connection, subjects)
    appender = Appender(connection)
    await appender.start()
    task_id = f"t{uuid.uuid4().hex}"
    entry = Assigned(
        task_id, 1, "fast", "i", 0, "chat", 5, RouteReason.MODEL, "m7", 1.0, 2.0, 1.5, CANDIDATES, slots=2,
        passed_over=PassedOver((Out("busy", WhyOut.FULL),), 7),
    )  # fmt: skip
    await appender.append(subjects.ledger_orchestrator(task_id, "o1"), encode(entry))
    await appender.append(subjects.ledger_agent(task_id, "a"), b"\xc1 no entry")
    found = await explain_task(settings, subjects.fleet, task_id)
    (attempt,) = found["attempts"]
    assert (attempt["agent"], attempt["reason"], attempt["model"]) == ("fast", "model", "m7")
    assert [(c["agent"], c["finish_s"]) for c in attempt["candidates"]] == [("fast", 1.5), ("slow", 4.0)]
    assert attempt["passed_over"] == [{"agent": "busy", "why": "full"}]
    assert attempt["passed_over_count"] == 7


async def test_a_task_that_was_never_assigned_is_named(
    connection: Connection, settings: NatsSettings, subjects: Subjects
) -> None:
    await ensure_streams(connection, subjects)
    with pytest.raises(TaskNotFound, match="no assignment of task none"):
        await explain_task(settings, subjects.fleet, "none")
    with pytest.raises(InvalidName):
        await explain_task(settings, subjects.fleet, "a b")
