"""Crashes of the orchestrator and of the server: what the ledger holds goes on."""

from __future__ import annotations

from dataclasses import replace

from outrider.broker.server import PrivateServer
from tests.integration.orchestrator.conftest import Fleet
from tests.support.thresholds import QUICK


async def test_a_new_orchestrator_goes_on_where_the_crashed_one_stopped(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    running = await fleet.submit()
    waiting = await fleet.submit()
    assignment = await agent.next_assignment()
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator()

    await agent.succeed(assignment, "finished while nobody decided")
    await fleet.ended(running)
    second = await agent.next_assignment()
    assert second.task_id == waiting
    await agent.succeed(second)
    assert (await fleet.ended(waiting)).attempt == 1


async def test_a_task_between_attempts_is_tried_again_after_a_crash(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    first = await agent.next_assignment()
    await fleet.crash_orchestrator()
    await agent.fail(first)
    await fleet.start_orchestrator()

    second = await agent.next_assignment()
    assert (second.task_id, second.attempt) == (task_id, 2)
    await agent.succeed(second)
    await fleet.ended(task_id)


async def test_two_orchestrators_assign_each_task_once(fleet: Fleet) -> None:
    await fleet.start_orchestrator()
    agent = await fleet.agent("a1", slots=50)
    await fleet.until_known("echo")
    submitted = {await fleet.submit() for _ in range(30)}

    seen = []
    for _ in range(30):
        assignment = await agent.next_assignment()
        seen.append(assignment.task_id)
        await agent.succeed(assignment)
    assert sorted(seen) == sorted(submitted)
    for task_id in submitted:
        assert (await fleet.ended(task_id)).attempt == 1


async def test_a_task_of_a_crashed_orchestrator_is_taken_over(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    first = await agent.next_assignment()
    await fleet.start_orchestrator()
    await fleet.crash_orchestrator()
    await agent.fail(first)
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(task_id)


async def test_a_restarted_server_finds_everybody_again(fleet: Fleet, server: PrivateServer) -> None:
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator(replace(QUICK, ping_every_s=5.0))
    agent = await fleet.agent("a1")
    task_id = await fleet.submit()
    assignment = await agent.next_assignment()
    server.kill()
    await server.start()

    await fleet.story_when(task_id, lambda s: s.is_live)
    await agent.succeed(assignment)
    await fleet.ended(task_id)
    await fleet.until_served()
    another = await fleet.submit()
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(another)
