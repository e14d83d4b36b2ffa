"""Chains and groups on a real server: order, failure policy, crashes in between, groups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from outrider.broker.codec import encode, load
from outrider.broker.errors import InvalidTask, TaskNotFound
from outrider.broker.messages import TaskEnvelope, TaskRequest
from outrider.broker.states import TaskState
from outrider.client import Client, IdempotencyConflict, NewTask, TaskCancelled
from outrider.ledger.rules import Phase
from tests.integration.orchestrator.conftest import Fleet
from tests.support.scripted_agent import ScriptedAgent
from tests.support.thresholds import QUICK


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[Client]:
    async with Client(settings=fleet.settings, fleet=fleet.subjects.fleet) as opened:
        yield opened


async def blocked(fleet: Fleet, task_id: str) -> None:
    await fleet.story_when(task_id, lambda story: story.phase is Phase.BLOCKED)


async def work_off(agent: ScriptedAgent, count: int) -> list[str]:
    """Let the next attempts succeed; returns their tasks in order."""
    done = []
    for _ in range(count):
        assignment = await agent.next_assignment()
        done.append(assignment.task_id)
        await agent.succeed(assignment, f"result of {assignment.task_id}")
    return done


async def test_a_chain_runs_in_order_with_its_payloads(fleet: Fleet, client: Client) -> None:
    agent = await fleet.agent("a1", slots=5)
    first = await client.submit("echo", {"n": 1}, priority=9)
    second = await client.submit("echo", {"n": 2}, after=[first], priority=5)
    third = await client.submit("echo", {"n": 3}, after=[first, second.task_id], priority=0)
    for expected in (first, second, third):
        assignment = await agent.next_assignment()
        assert assignment.task_id == expected.task_id
        assert agent.assigned.empty(), "the others wait"
        await agent.succeed(assignment, assignment.payload)
    assert await third.result(10) == {"n": 3}
    assert (await fleet.ended(third.task_id)).attempt == 1


async def test_a_blocked_task_is_shown_as_blocked_and_has_left_the_queue(
    fleet: Fleet, client: Client
) -> None:
    agent = await fleet.agent("a1")
    parent = await client.submit("echo")
    child = await client.submit("echo", {"x": 1}, after=[parent], priority=2)
    await blocked(fleet, child.task_id)
    view = await client.get(child.task_id)
    assert (view.state, view.kind, view.priority, view.attempts) == (TaskState.BLOCKED, "echo", 2, 0)
    assert [v.task_id for v in await client.tasks("blocked")] == [child.task_id]
    assert await work_off(agent, 2) == [parent.task_id, child.task_id]


async def test_a_failed_parent_cancels_its_descendants_or_lets_them_run(fleet: Fleet, client: Client) -> None:
    agent = await fleet.agent("a1")
    parent = await client.submit("echo")
    child = await client.submit("echo", after=[parent])
    grandchild = await client.submit("echo", after=[child])
    careless = await client.submit("echo", after=[parent, grandchild], on_failure="run")
    for task in (child, grandchild, careless):
        await blocked(fleet, task.task_id)
    await agent.fail(await agent.next_assignment(), retryable=False)
    for task, named in ((child, parent), (grandchild, child)):
        with pytest.raises(TaskCancelled, match=named.task_id):
            await task.result(10)
    assert await work_off(agent, 1) == [careless.task_id]


async def test_nats_req_takes_after_and_names_an_unknown_one(fleet: Fleet) -> None:
    agent = await fleet.agent("a1")
    parent = await fleet.submit()
    body = f'{{"kind":"echo","task_id":"child","after":["{parent}"],"on_failure":"run"}}'.encode()
    assert (await fleet.ask(fleet.subjects.submit, body))["task_id"] == "child"
    with pytest.raises(TaskNotFound, match="nobody"):
        await fleet.ask(fleet.subjects.submit, b'{"kind":"echo","after":["nobody"]}')
    with pytest.raises(InvalidTask, match="itself"):
        await fleet.ask(fleet.subjects.submit, b'{"kind":"echo","task_id":"me","after":["me"]}')
    assert await work_off(agent, 2) == [parent, "child"]


async def test_a_client_is_told_of_an_unknown_parent(fleet: Fleet, client: Client) -> None:
    await fleet.agent("a1")
    with pytest.raises(TaskNotFound, match="nobody"):
        await client.submit("echo", after=["nobody"])


async def test_a_child_of_what_is_long_over_starts_at_once(fleet: Fleet, client: Client) -> None:
    agent = await fleet.agent("a1")
    parent = await client.submit("echo")
    await work_off(agent, 1)
    await fleet.ended(parent.task_id)
    child = await client.submit("echo", after=[parent])
    assert await work_off(agent, 1) == [child.task_id]
    story = await fleet.ended(child.task_id)
    assert len(await fleet.ledger.stored(child.task_id)) == 2, story


@pytest.mark.parametrize("moment", ["before the parent ended", "after the parent ended"])
async def test_a_crash_between_parent_and_child_loses_nothing(
    fleet: Fleet, client: Client, moment: str
) -> None:
    agent = await fleet.agent("a1")
    parent = await client.submit("echo")
    child = await client.submit("echo", {"deep": True}, after=[parent])
    assignment = await agent.next_assignment()
    await blocked(fleet, child.task_id)
    if moment == "before the parent ended":
        await fleet.crash_orchestrator()
        await fleet.start_orchestrator()
        await agent.succeed(assignment)
    else:
        await fleet.crash_orchestrator()
        await agent.succeed(assignment)
        await fleet.start_orchestrator()
    second = await agent.next_assignment()
    assert (second.task_id, second.payload) == (child.task_id, {"deep": True})
    await agent.succeed(second)
    await fleet.ended(child.task_id)


async def test_another_orchestrator_takes_blocked_tasks_over(fleet: Fleet, client: Client) -> None:
    agent = await fleet.agent("a1")
    parent = await client.submit("echo")
    child = await client.submit("echo", after=[parent])
    assignment = await agent.next_assignment()
    await blocked(fleet, child.task_id)
    await fleet.start_orchestrator()
    await fleet.crash_orchestrator(0)
    await agent.succeed(assignment)
    assert await work_off(agent, 1) == [child.task_id]


async def test_cancelling_a_parent_that_still_waits_reaches_the_child(fleet: Fleet, client: Client) -> None:
    await fleet.agent("a1")
    parent = await client.submit("echo", requires=["gpu"])
    child = await client.submit("echo", after=[parent])
    await blocked(fleet, child.task_id)
    body = encode(TaskRequest(parent.task_id, "not needed"))
    assert load((await fleet.connection.request(fleet.subjects.cancel, body, 10.0)).data)
    with pytest.raises(TaskCancelled, match=parent.task_id):
        await child.result(10)


async def test_an_unknown_parent_of_a_direct_publish_ends_as_dead(fleet: Fleet) -> None:
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator(replace(QUICK, unknown_parent_s=0.5))
    await fleet.agent("a1")
    envelope = TaskEnvelope("echo", task_id="lonely", after=("typo",))
    await fleet.connection.request(fleet.subjects.task("echo", 5, "lonely"), encode(envelope), 5.0)
    story = await fleet.ended("lonely", TaskState.DEAD)
    assert "typo" in str(story.view().error)


async def test_a_task_may_wait_for_one_that_starts_later(fleet: Fleet, client: Client) -> None:
    agent = await fleet.agent("a1")
    parent = await client.submit("echo", delay_s=1.5)
    child = await client.submit("echo", after=[parent])
    await blocked(fleet, child.task_id)
    assert await work_off(agent, 2) == [parent.task_id, child.task_id]


# ---- groups


async def test_a_group_tells_its_progress_its_results_and_runs_its_hook_once(
    fleet: Fleet, client: Client
) -> None:
    agent = await fleet.agent("a1", slots=3)
    tasks: list[Any] = [("echo", {"n": n}) for n in range(5)]
    group = await client.submit_many(tasks, group="import-7", hook=NewTask("echo", {"is": "hook"}))
    assert [task.task_id for task in group.tasks] == [f"import-7-{n}" for n in range(5)]
    seen: list[str] = []
    for _ in range(5):
        assignment = await agent.next_assignment()
        assert assignment.task_id != "import-7-hook"
        seen.append(assignment.task_id)
        if assignment.task_id == "import-7-3":
            await agent.fail(assignment, retryable=False)
        else:
            await agent.succeed(assignment, assignment.payload)
    assert sorted(seen) == sorted(task.task_id for task in group.tasks)
    assert {task.task_id async for task in group.as_completed()} == set(seen)
    assert await work_off(agent, 1) == ["import-7-hook"]
    progress = await group.progress()
    assert (progress.states, progress.ended, progress.is_over) == ({"succeeded": 4, "dead": 1}, 5, True)
    results = await group.results(10, return_exceptions=True)
    assert [r for r in results if isinstance(r, dict)] == [{"n": n} for n in (0, 1, 2, 4)]
    assert (await (await group.hook()).ended(10)).attempts == 1


async def test_a_group_is_found_again_by_another_client_and_not_submitted_twice(
    fleet: Fleet, client: Client
) -> None:
    agent = await fleet.agent("a1", slots=1)
    tasks: list[Any] = [("echo", {"n": n}) for n in range(3)]
    await client.submit_many(tasks, group="again")
    await work_off(agent, 1)
    async with Client(settings=fleet.settings, fleet=fleet.subjects.fleet) as other:
        again = await other.submit_many(tasks, group="again")
        assert again.size == 3
        with pytest.raises(IdempotencyConflict):
            await other.submit_many(tasks[:2], group="again")
        found = await other.group("again")
        await work_off(agent, 2)
        assert sorted(await found.results(10)) == [f"result of again-{n}" for n in range(3)]
        assert agent.assigned.empty()
        with pytest.raises(TaskNotFound):
            await other.group("never")


async def test_cancelling_a_group_ends_its_members_and_its_hook(fleet: Fleet, client: Client) -> None:
    agent = await fleet.agent("a1", slots=1)
    tasks: list[Any] = [("echo", {"n": n}) for n in range(4)]
    group = await client.submit_many(tasks, group=True, hook=NewTask("echo"))
    await agent.next_assignment()
    progress = await group.cancel("enough")
    assert progress.states == {"cancelled": 4}
    assert (await (await group.hook()).ended(10)).state is TaskState.CANCELLED


async def test_a_hook_survives_a_crash_in_the_middle_of_its_group(fleet: Fleet, client: Client) -> None:
    agent = await fleet.agent("a1", slots=4)
    tasks: list[Any] = [("echo", {"n": n}) for n in range(30)]
    group = await client.submit_many(tasks, group="wide", hook=NewTask("echo"))
    await blocked(fleet, "wide-hook")
    await work_off(agent, 10)
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator()
    done = await work_off(agent, 21)
    assert done[-1] == "wide-hook"
    assert len(set(done)) == 21
    assert (await group.progress()).states == {"succeeded": 30}
