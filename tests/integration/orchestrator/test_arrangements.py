"""Unique while queued and debounce, decided at the server whoever asks, through real orchestrators."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outrider.broker.codec import dump
from outrider.broker.errors import InvalidTask
from tests.integration.orchestrator.conftest import Fleet


async def submit(fleet: Fleet, payload: Any = None, **options: Any) -> str:
    body = {"kind": "echo", "payload": payload} | options
    return str((await fleet.ask(fleet.subjects.submit, dump(body)))["task_id"])


async def test_the_same_work_is_one_task_while_it_is_open(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    first = await submit(fleet, {"page": 1, "deep": [1, 2]}, unique=True)
    assert await submit(fleet, {"deep": [1, 2], "page": 1}, unique=True) == first
    other = await submit(fleet, {"page": 2}, unique=True)
    assert other != first

    running = await agent.next_assignment()
    assert await submit(fleet, {"page": 1, "deep": [1, 2]}, unique=True) == first
    await agent.succeed(running)
    await fleet.ended(first)
    again = await submit(fleet, {"page": 1, "deep": [1, 2]}, unique=True)
    assert again not in (first, other)


async def test_a_unique_key_counts_more_than_the_payload(fleet: Fleet) -> None:
    await fleet.agent("a1", slots=1)
    first = await submit(fleet, 1, unique_key="sync")
    assert await submit(fleet, 2, unique_key="sync") == first
    assert await submit(fleet, 2, unique_key="other") != first


async def test_of_many_at_once_at_several_orchestrators_one_is_stored(fleet: Fleet) -> None:
    await fleet.start_orchestrator()
    agent = await fleet.agent("a1", slots=50)
    ids = await asyncio.gather(*(submit(fleet, n, unique_key="race") for n in range(40)))
    assert len(set(ids)) == 1
    await agent.next_assignment()
    assert agent.assigned.empty()


async def test_a_delayed_task_counts_as_open(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    first = await submit(fleet, 1, unique=True, delay_s=0.8)
    assert await submit(fleet, 1, unique=True) == first
    assert (await agent.next_assignment()).task_id == first


async def test_of_debounced_submits_the_last_one_runs_once(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=10)
    ids = [await submit(fleet, n, debounce_s=0.7, debounce_key="save") for n in range(6)]
    assert len(set(ids)) == 1

    ran = await agent.next_assignment()
    assert (ran.task_id, ran.payload) == (ids[0], 5)
    await agent.succeed(ran)
    await fleet.ended(ids[0])
    second = await submit(fleet, 99, debounce_s=0.5, debounce_key="save")
    assert second != ids[0]
    assert (await agent.next_assignment()).payload == 99
    assert agent.assigned.empty()


async def test_the_last_debounced_submit_wins_also_when_they_come_at_the_very_end(fleet: Fleet) -> None:
    await fleet.start_orchestrator()
    agent = await fleet.agent("a1", slots=200)
    last: dict[str, int] = {}
    for number in range(24):
        # Twelve keys; quiet times of a moment, so that many submits meet a window that just closes.
        keys = [f"k{n}" for n in range(12)]
        ids = await asyncio.gather(
            *(submit(fleet, number, debounce_s=0.05 + n / 50, debounce_key=k) for n, k in enumerate(keys))
        )
        last |= dict.fromkeys(ids, number)
    ran: dict[str, object] = {}
    while set(last) - set(ran):
        assignment = await agent.next_assignment()
        assert assignment.task_id not in ran
        ran[assignment.task_id] = assignment.payload
    assert ran == last


async def test_options_that_contradict_each_other_are_refused(fleet: Fleet) -> None:
    await fleet.agent("a1")
    with pytest.raises(InvalidTask, match="neither cron nor debounce_s"):
        await submit(fleet, 1, unique=True, cron="* * * * *")
    with pytest.raises(InvalidTask, match="neither unique nor debounce"):
        await submit(fleet, 1, unique=True, idempotency_key="k")


async def test_a_debounced_submit_that_is_repeated_is_neither_newer_nor_another(fleet: Fleet) -> None:
    """Its answer was lost, and the client asks again under the same id: during the window, and after it."""
    agent = await fleet.agent("a1", slots=10)

    async def save(task_id: str) -> str:
        return await submit(fleet, task_id, task_id=task_id, debounce_s=0.7, debounce_key="save")

    window = await save("s-1")
    assert [await save("s-2"), await save("s-3"), await save("s-2")] == [window] * 3
    ran = await agent.next_assignment()
    assert (ran.task_id, ran.payload) == (window, "s-3")
    assert await save("s-3") == await save("s-2") == window
    await agent.succeed(ran)
    await fleet.ended(window)
    assert await save("s-2") == window
    assert await save("s-4") == "s-4"
    assert (await agent.next_assignment()).payload == "s-4"
    assert agent.assigned.empty()
