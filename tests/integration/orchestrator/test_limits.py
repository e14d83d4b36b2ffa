"""Concurrency, rate and token limits on a real server: who waits, who does not, and what survives a crash."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from outrider.broker.codec import encode
from outrider.broker.errors import InvalidLimit, InvalidName, Refused
from outrider.broker.follower import StreamReader
from outrider.broker.messages import Assignment, AttemptError
from outrider.broker.outcomes import Failed, Succeeded, Usage
from outrider.broker.pipeline import Appender, guard
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import parse_ledger
from outrider.ledger.reader import record_of
from tests.integration.orchestrator.conftest import Fleet
from tests.support.scripted_agent import ScriptedAgent
from tests.support.waiting import eventually

AT_ONCE_S = 0.5
"""Well under a second: how soon a freed slot is taken again."""


async def limit(fleet: Fleet, **fields: Any) -> list[dict[str, Any]]:
    answer = await fleet.ask(fleet.subjects.limits, json.dumps({"set": fields}).encode())
    limits: list[dict[str, Any]] = answer["limits"]
    return limits


async def submit(fleet: Fleet, count: int, key: str | None = None, **fields: Any) -> list[str]:
    return [await fleet.submit(limit_key=key, **fields) for _ in range(count)]


async def nothing_more(agent: ScriptedAgent, within_s: float = 0.4) -> None:
    with pytest.raises(TimeoutError):
        await agent.next_assignment(within_s)


async def stored_entries(fleet: Fleet) -> list[Any]:
    reader = StreamReader(fleet.connection, fleet.subjects.ledger_stream)
    stored = await reader.all_of(fleet.subjects.all_ledger)
    return [record_of(message) for message in stored]


def most_at_once(records: list[Any], task_ids: set[str]) -> int:
    """How many of these tasks had a live attempt at the same time, by the ledger."""
    live: set[str] = set()
    most = 0
    for record in records:
        task_id = parse_ledger(record.subject).task_id
        if record.entry.type == "assigned":
            live.add(task_id)
        else:
            live.discard(task_id)
        most = max(most, len(live & task_ids))
    return most


async def succeed_all(agent: ScriptedAgent, count: int, within_s: float = 20.0) -> Counter[str]:
    done: Counter[str] = Counter()
    async with asyncio.timeout(within_s):
        for _ in range(count):
            assignment = await agent.next_assignment()
            done[assignment.task_id] += 1
            await agent.succeed(assignment)
    return done


async def test_a_key_at_its_limit_waits_and_blocks_nobody(fleet: Fleet) -> None:
    await limit(fleet, kind="*", key="*", concurrency=2)
    agent = await fleet.agent("a1", slots=10)
    acme = await submit(fleet, 6, "acme")
    others = await submit(fleet, 3, "beta") + await submit(fleet, 3)
    first = [await agent.next_assignment() for _ in range(2 + 2 + 3)]
    await nothing_more(agent)

    running = [a for a in first if a.task_id in acme]
    assert len(running) == 2
    assert len([a for a in first if a.task_id in others[:3]]) == 2
    loop = asyncio.get_running_loop()
    for _ in range(4):
        begun_at = loop.time()
        await agent.succeed(running.pop(0))
        running.append(await agent.next_assignment())
        assert running[-1].task_id in acme
        assert loop.time() - begun_at < AT_ONCE_S


async def test_many_waiting_tasks_of_one_key_do_not_hide_those_of_another(fleet: Fleet) -> None:
    await limit(fleet, kind="echo", key="acme", concurrency=1)
    agent = await fleet.agent("a1", slots=4)
    await submit(fleet, 400, "acme")
    beta = await submit(fleet, 2, "beta")
    seen = [await agent.next_assignment() for _ in range(3)]
    assert {a.task_id for a in seen} > set(beta)


async def test_what_waits_for_a_slot_keeps_coming(fleet: Fleet) -> None:
    """Far more tasks than are kept in memory go through two slots without long gaps."""
    await limit(fleet, kind="echo", key="acme", concurrency=2)
    agent = await fleet.agent("a1", slots=8)
    tasks = await submit(fleet, 400, "acme")
    done = await succeed_all(agent, len(tasks), within_s=20)
    assert set(done) == set(tasks)
    assert most_at_once(await stored_entries(fleet), set(tasks)) <= 2


async def test_a_kind_at_its_limit_is_left_in_the_queue(fleet: Fleet) -> None:
    await limit(fleet, kind="echo", concurrency=1)
    agent = await fleet.agent("a1", slots=8, kinds=("echo", "other"))
    tasks = await submit(fleet, 100)
    other = await fleet.submit("other")
    seen = [await agent.next_assignment() for _ in range(2)]
    assert other in {a.task_id for a in seen}
    await nothing_more(agent)
    stats = await fleet.ask(fleet.subjects.stats, b"{}")
    assert stats["held"] <= 40
    assert stats["limits"][0]["in_flight"] == 1
    for assignment in seen:
        await agent.succeed(assignment)
    await succeed_all(agent, len(tasks) - 1)


async def test_no_more_start_in_any_second_than_the_rate_says(fleet: Fleet) -> None:
    await limit(fleet, kind="echo", rate=5, per_s=1.0)
    agent = await fleet.agent("a1", slots=20)
    tasks = await submit(fleet, 18)
    begun_at = asyncio.get_running_loop().time()
    await succeed_all(agent, len(tasks))
    took_s = asyncio.get_running_loop().time() - begun_at
    starts = [r.stored_at for r in await stored_entries(fleet) if r.entry.type == "assigned"]
    for number, at in enumerate(starts):
        assert sum(at <= other < at + 1.0 for other in starts[number:]) <= 5
    assert took_s < 3 * 1.0 + 2.0


async def test_tokens_are_reserved_as_predicted_and_settled_as_used(fleet: Fleet) -> None:
    await limit(fleet, kind="*", key="acme", tokens_per_minute=1000)
    agent = await fleet.agent("a1", slots=10)
    payload = {"prompt": "x" * 400, "max_tokens": 300}
    await submit(fleet, 6, "acme", payload=payload)
    first = [await agent.next_assignment() for _ in range(2)]
    await nothing_more(agent)
    await use(fleet, agent, first[0], tokens=40)
    third = await agent.next_assignment(2.0)
    await nothing_more(agent)
    await use(fleet, agent, third, tokens=900)
    await nothing_more(agent)
    shown = (await fleet.ask(fleet.subjects.limits, b"{}"))["limits"][0]
    assert shown["tokens"] == 40 + 400 + 900


async def use(fleet: Fleet, agent: ScriptedAgent, a: Assignment, tokens: int) -> None:
    usage = Usage(tokens // 2, tokens - tokens // 2)
    await write(fleet, a, Succeeded(a.task_id, a.attempt, agent.agent_id, a.epoch, "done", 0.01, usage))


async def write(fleet: Fleet, a: Assignment, entry: Succeeded | Failed) -> None:
    appender = Appender(fleet.connection)
    await appender.start()
    subject = fleet.subjects.ledger_agent(a.task_id, entry.agent_id)
    await appender.append(subject, encode(entry), guard(a.expect, fleet.subjects.story(a.task_id)))


async def test_a_providers_429_holds_its_key_back_and_costs_no_attempt(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=2)
    acme = await submit(fleet, 8, "acme", max_attempts=1)
    refused = await agent.next_assignment()
    error = AttemptError(ErrorClass.RATE_LIMITED, "429", retryable=True, retry_after_s=1.5)
    loop = asyncio.get_running_loop()
    refused_at = loop.time()
    await write(fleet, refused, Failed(refused.task_id, 1, "a1", refused.epoch, error))
    in_flight = await agent.next_assignment()
    await agent.succeed(in_flight)

    beta = await fleet.submit(limit_key="beta")
    assert (await agent.next_assignment()).task_id == beta
    again = await agent.next_assignment(5.0)
    assert again.task_id in acme
    assert loop.time() - refused_at >= 1.4
    await agent.succeed(again)
    rest = await succeed_all(agent, len(acme) - 2)
    assert {again.task_id, in_flight.task_id, *rest} == set(acme)
    assert (await fleet.ledger.story(refused.task_id)).attempt == 2


async def test_limits_hold_after_a_crash(fleet: Fleet) -> None:
    await limit(fleet, kind="*", key="*", concurrency=2)
    await limit(fleet, kind="echo", rate=3, per_s=3600.0)
    agent = await fleet.agent("a1", slots=10)
    await submit(fleet, 6, "acme")
    running = [await agent.next_assignment() for _ in range(2)]
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator()

    await nothing_more(agent)
    shown = {
        (one["kind"], one["key"]): one for one in (await fleet.ask(fleet.subjects.limits, b"{}"))["limits"]
    }
    assert shown["*", "*"]["in_flight"] == 2
    assert shown["echo", ""]["starts"] == 2
    await agent.succeed(running[0])
    await agent.next_assignment()
    await agent.succeed(running[1])
    await nothing_more(agent)


async def test_two_orchestrators_keep_one_limit(fleet: Fleet) -> None:
    await limit(fleet, kind="*", key="*", concurrency=1)
    await fleet.start_orchestrator()
    agent = await fleet.agent("a1", slots=10)
    await fleet.until_served()
    keys = {key: await submit(fleet, 12, key) for key in ("acme", "beta", "gamma")}
    await succeed_all(agent, 36, within_s=40)
    records = await stored_entries(fleet)
    assert max(most_at_once(records, set(tasks)) for tasks in keys.values()) == 1


async def test_a_waiting_task_says_what_it_waits_for(fleet: Fleet) -> None:
    await limit(fleet, kind="echo", key="acme", concurrency=1)
    agent = await fleet.agent("a1", slots=4)
    first, second = await submit(fleet, 2, "acme")
    await agent.next_assignment()

    async def told() -> Any:
        views = [
            await fleet.ask(fleet.subjects.get, json.dumps({"task_id": t}).encode()) for t in (first, second)
        ]
        return next((view for view in views if view.get("waits_for")), None)

    view = await eventually(told, 20, "a reason")
    assert view["state"] == "queued"
    assert view["waits_for"] == "limit of kind echo, key acme: 1 at once"


async def test_a_removed_limit_lets_everybody_go(fleet: Fleet) -> None:
    await limit(fleet, kind="echo", key="*", concurrency=1)
    agent = await fleet.agent("a1", slots=10)
    await submit(fleet, 5, "acme")
    await agent.next_assignment()
    await nothing_more(agent)
    answer = await fleet.ask(fleet.subjects.limits, b'{"remove": {"kind": "echo", "key": "*"}}')
    assert answer == {"limits": []}
    for _ in range(4):
        await agent.next_assignment(2.0)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"kind": "chat"}, Refused),
        ({"kind": "ch.at", "concurrency": 1}, InvalidName),
        ({"kind": "chat", "key": "a*b", "concurrency": 1}, InvalidName),
        ({"kind": "chat", "concurrency": 0}, InvalidLimit),
        ({"kind": "chat", "rate": 1, "per_s": 0.0}, InvalidLimit),
    ],
)
async def test_nonsense_is_refused(fleet: Fleet, fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await limit(fleet, **fields)
