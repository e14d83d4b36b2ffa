"""A long past, made quickly: a ledger of finished and open tasks, and a queue of waiting ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from outrider.broker.background import Background
from outrider.broker.codec import encode
from outrider.broker.connection import Connection
from outrider.broker.facts import TaskFacts
from outrider.broker.messages import TaskEnvelope
from outrider.broker.outcomes import Succeeded
from outrider.broker.pipeline import Appender, Receipt
from outrider.broker.routing import Candidate, RouteReason
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned, Member

OPEN = 200
"""Tasks at the end of the ledger whose attempt lives, on an agent that is gone."""
AGENTS = 8
PAYLOAD = {"text": "x" * 150}

Message = tuple[str, bytes]


def _envelope(task_id: str) -> TaskEnvelope:
    return TaskEnvelope("echo", PAYLOAD, task_id, submitted_at=1.7e9)


def ledger_messages(subjects: Subjects, entries: int) -> Iterator[Message]:
    """`entries` entries as an orchestrator and agents would have written them, in an empty ledger."""
    yield subjects.member("agent-0"), encode(Member("agent-0", "joined", "i", ("echo",), 64))
    seq, finished = 1, max(0, (entries - 1 - OPEN) // 2)
    for number in range(finished + entries - 1 - 2 * finished):
        task_id, agent_id = f"past-{number:08d}", f"agent-{number % AGENTS}"
        candidates = tuple(Candidate(f"agent-{n}", 0.0, 0.1, 0.2, 0.1) for n in range(AGENTS)[:5])
        assigned = Assigned(
            task_id=task_id,
            attempt=1,
            agent_id=agent_id,
            instance="i",
            epoch=0,
            kind="echo",
            priority=5,
            reason=RouteReason.MODEL,
            model="shipped",
            p50_s=0.1,
            p90_s=0.2,
            finish_s=0.1,
            candidates=candidates,
            facts=TaskFacts(200),
            slots=64,
            envelope=_envelope(task_id),
        )
        seq += 1
        yield subjects.ledger_orchestrator(task_id, "o-past"), encode(assigned)
        if number < finished:
            outcome = Succeeded(task_id, 1, agent_id, seq, PAYLOAD, 0.05)
            seq += 1
            yield subjects.ledger_agent(task_id, agent_id), encode(outcome)


def queue_messages(subjects: Subjects, tasks: int) -> Iterator[Message]:
    for number in range(tasks):
        task_id = f"queued-{number:08d}"
        yield subjects.task("echo", 5, task_id), encode(_envelope(task_id))


async def write(connection: Connection, messages: Iterator[Message]) -> int:
    """Publish all, pipelined; returns the last sequence. Raises what the first refused one holds."""
    appender, receipts, is_idle = Appender(connection, timeout_s=60.0), [Receipt()], asyncio.Event()

    def note(receipt: Receipt) -> None:
        receipts[1:] = [receipt] if receipts[-1].error is None else receipts[1:]
        if not appender.pending:
            is_idle.set()

    await appender.start()
    async with Background() as background:
        background.spawn(appender.run())
        for subject, body in messages:
            await appender.send(subject, body, note)
        while appender.pending:
            is_idle.clear()
            await is_idle.wait()
        await background.end()
    error = receipts[-1].error
    if error is not None:
        raise error
    return receipts[-1].seq


async def make_past(connection: Connection, subjects: Subjects, entries: int, queued: int) -> int:
    """Fill the streams of a fresh fleet; returns the ledger's last sequence."""
    await ensure_streams(connection, subjects)
    seq = await write(connection, ledger_messages(subjects, entries))
    await write(connection, queue_messages(subjects, queued))
    return seq
