"""What a running orchestrator keeps has a bound, also where only its shell could grow."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from outrider.broker.clock import SystemClock
from outrider.broker.connection import Connection
from outrider.broker.subjects import Subjects
from outrider.orchestrator import events
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.shell import MOST_IN_INBOX, Shell
from tests.support.waiting import eventually


def idle_shell(connection: Connection, subjects: Subjects) -> Shell:
    """One that was not started: nothing leaves its inbox."""

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        work.close()

    return Shell(connection, subjects, Thresholds(), SystemClock(), spawn)


async def test_a_flood_of_partial_output_does_not_fill_the_inbox(
    connection: Connection, subjects: Subjects
) -> None:
    shell = idle_shell(connection, subjects)
    chunk = SimpleNamespace(subject=subjects.chunk("a1", "t1", 1))
    for _ in range(MOST_IN_INBOX + 500):
        await shell._chunk(chunk)
    assert len(shell._inbox) == MOST_IN_INBOX + 1
    shell.post(events.Ticked())  # what must not be lost still comes in
    assert len(shell._inbox) == MOST_IN_INBOX + 2


async def test_whoever_gave_up_waiting_for_a_cancellation_leaves_nothing(
    connection: Connection, subjects: Subjects
) -> None:
    requests = idle_shell(connection, subjects)._requests
    told = [requests._until_told("t1") for _ in range(100)]
    for waiter in told:
        waiter.cancel()

    async def is_forgotten() -> bool:
        return not requests._waiters

    await eventually(is_forgotten, 20, "nobody is waited for")
    kept = requests._until_told("t1")
    requests.task_ended("t1")
    await asyncio.wait_for(kept, 20)
