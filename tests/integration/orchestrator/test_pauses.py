"""Pause and resume on a real nats-server: what is paused waits in TASKS, what runs goes on."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.broker.codec import dump
from outrider.broker.errors import InvalidTask, UnknownKind
from outrider.broker.states import TaskState
from tests.integration.orchestrator.conftest import Fleet
from tests.support.scripted_agent import ScriptedAgent
from tests.support.waiting import eventually


async def ask(fleet: Fleet, verb: str, **fields: Any) -> Any:
    return await fleet.ask(f"{fleet.subjects.fleet}.{verb}", dump(fields))


async def both_kinds(fleet: Fleet) -> ScriptedAgent:
    return await fleet.agent("a", slots=10, kinds=("echo", "cook"))


async def waiting(fleet: Fleet) -> int:
    info = await fleet.connection.api(f"STREAM.INFO.{fleet.subjects.tasks_stream}")
    return int(info["state"]["messages"])


async def test_a_paused_kind_waits_and_nothing_else_does(fleet: Fleet) -> None:
    agent = await both_kinds(fleet)
    running = await fleet.submit("cook")
    given = await agent.next_assignment()
    assert await ask(fleet, "pause", kind="cook", reason="oven") == {"all": False, "kinds": ["cook"], "v": 1}
    held = [await fleet.submit("cook") for _ in range(3)]
    other = await fleet.submit("echo")
    echo = await agent.next_assignment()
    assert echo.task_id == other
    await agent.succeed(given)
    await fleet.ended(running)
    assert await waiting(fleet) >= 3
    assert (await ask(fleet, "get", task_id=held[0]))["state"] == TaskState.QUEUED
    assert (await ask(fleet, "stats"))["paused_kinds"] == ["cook"]
    assert (await ask(fleet, "agents"))["paused"] == ["cook"]
    assert agent.assigned.empty()
    assert (await ask(fleet, "resume", kind="cook"))["kinds"] == []
    got = {(await agent.next_assignment()).task_id for _ in range(3)}
    assert got == set(held)


async def test_a_pause_survives_a_restart_and_reaches_every_orchestrator(fleet: Fleet) -> None:
    agent = await both_kinds(fleet)
    await ask(fleet, "pause", kind="cook")
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator()
    await fleet.start_orchestrator()
    task_id = await fleet.submit("cook")
    other = await fleet.submit("echo")
    assert (await agent.next_assignment()).task_id == other
    for _ in range(4):
        assert (await ask(fleet, "stats"))["paused_kinds"] == ["cook"]
    await ask(fleet, "resume", all=True)
    assert (await agent.next_assignment()).task_id == task_id

    async def all_know() -> bool:
        return all([not (await ask(fleet, "stats"))["paused_kinds"] for _ in range(6)])

    await eventually(all_know, what="every orchestrator to resume")


async def test_a_retry_waits_for_the_end_of_the_pause(fleet: Fleet) -> None:
    agent = await both_kinds(fleet)
    task_id = await fleet.submit("cook")
    given = await agent.next_assignment()
    await ask(fleet, "pause", all=True)
    await agent.fail(given)

    async def is_ready_again() -> bool:
        return bool((await ask(fleet, "get", task_id=task_id))["state"] == TaskState.QUEUED)

    await eventually(is_ready_again, what="the backoff to end")
    assert agent.assigned.empty()
    assert await ask(fleet, "resume", all=True) == {"all": False, "kinds": [], "v": 1}
    assert (await agent.next_assignment()).attempt == 2


async def test_a_task_of_a_paused_kind_is_accepted_with_a_warning_and_can_be_cancelled(fleet: Fleet) -> None:
    await both_kinds(fleet)
    await ask(fleet, "pause", all=True)
    answer = await ask(fleet, "submit", kind="echo", payload={})
    assert "paused" in answer["warning"]
    assert (await ask(fleet, "cancel", task_id=answer["task_id"]))["state"] == TaskState.CANCELLED


async def test_pauses_that_make_no_sense_are_refused_by_name(fleet: Fleet) -> None:
    await both_kinds(fleet)
    with pytest.raises(UnknownKind, match="known kinds: cook, echo"):
        await ask(fleet, "pause", kind="cok")
    for fields in ({}, {"kind": "cook", "all": True}):
        with pytest.raises(InvalidTask, match="what shall be paused"):
            await ask(fleet, "pause", **fields)
