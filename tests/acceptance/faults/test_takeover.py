"""One of two orchestrators dies, with the router and an agent: the other goes on with its tasks within 8 s.

Real processes with the thresholds that ship. What counts is read from the ledger, by the server's clock.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from outrider.agents import Agent, Task
from outrider.broker.config import NatsSettings
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import parse_ledger
from outrider.client import Client
from outrider.ledger.reader import record_of
from outrider.ledger.rules import TERMINAL_TYPES
from tests.support.processes import Process
from tests.support.waiting import eventually

TAKEN_OVER_WITHIN_S = 8.0
AGENT_NOTICED_WITHIN_S = 6.0
"""Two pings without a listener, 5 s and 1 s apart."""
FLAKY = 24


def orchestrator_id(process: Process) -> str:
    found = re.search(r"orchestrator (o-\w+) ready", process.err)
    assert found
    return found[1]


@asynccontextmanager
async def flaky_agent(name: str, settings: NatsSettings, fail: asyncio.Event) -> AsyncIterator[None]:
    """An agent in this process whose first attempts fail all at once, when `fail` is set."""
    agent = Agent(name, slots=FLAKY)

    @agent.handles("flaky")
    async def flaky(task: Task) -> str:
        if task.attempt == 1:
            await fail.wait()
            raise ConnectionError("on purpose")
        return "better"

    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.serve(settings, "outrider", stop, lambda _: ready.set()))
        await asyncio.wait_for(ready.wait(), 30)
        yield
        stop.set()


async def ledger_of(client: Client) -> list[Stored]:
    reader = StreamReader(client.connection, client.subjects.ledger_stream)
    return await reader.all_of(client.subjects.all_ledger)


async def owned_by(client: Client, orchestrator: str) -> set[str]:
    """Tasks whose first attempt this orchestrator assigned."""
    addresses = [parse_ledger(stored.subject) for stored in await ledger_of(client)]
    return {where.task_id for where in addresses if where.writer == orchestrator}


async def first_entries(client: Client, writer: str, of: set[str]) -> tuple[dict[str, float], list[str]]:
    """When a writer's first entry of each type was stored for some tasks; every task that is terminal."""
    first: dict[str, float] = {}
    terminal: list[str] = []
    for stored in await ledger_of(client):
        where, entry = parse_ledger(stored.subject), record_of(stored).entry
        if entry.type in TERMINAL_TYPES:
            terminal.append(where.task_id)
        if where.writer == writer and where.task_id in of:
            first.setdefault(entry.type, stored.stored_at)
    return first, terminal


async def test_the_survivor_takes_over_within_8_s(server: PrivateServer) -> None:
    settings = NatsSettings(url=server.url, source="test")
    env, fail = {"NATS_URL": server.url}, asyncio.Event()
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        victim = await start(Process("orchestrator", env=env))
        survivor = await start(Process("orchestrator", env=env))
        router = await start(Process("router", env=env))
        await start(flaky_agent("flaky", settings, fail))
        mortal = await start(
            Process("agent", "--kinds", "sleep", "--name", "mortal", "--slots", "12", env=env)
        )
        client = await start(Client(settings=settings))
        work = [("flaky", n) for n in range(FLAKY)] + [("sleep", {"seconds": 2.5, "n": n}) for n in range(12)]
        tasks = [await client.submit(kind, payload) for kind, payload in work]
        dead, alive = orchestrator_id(victim), orchestrator_id(survivor)

        async def all_run() -> bool:
            entries = await ledger_of(client)
            return len(entries) == len(tasks)

        await eventually(all_run, what="an attempt of every task")
        theirs = await owned_by(client, dead)
        assert len(theirs) >= 4

        killed_at = time.time()
        for process in (victim, router, mortal):
            process.kill()
        fail.set()
        # Whoever fails so often in a row is cooled down: the second attempts need others.
        await start(flaky_agent("steady", settings, fail))
        await start(Process("agent", "--kinds", "sleep", "--name", "heir", "--slots", "12", env=env))
        for task in tasks:
            await task.result(timeout_s=60)

        first, terminal = await first_entries(client, alive, theirs)
        assert sorted(terminal) == sorted(task.task_id for task in tasks)
        waits = {type_: at - killed_at for type_, at in first.items()}
        print(f"taken over after {waits} s")
        assert waits["assigned"] <= TAKEN_OVER_WITHIN_S, waits
        assert waits.get("lost", 0.0) <= TAKEN_OVER_WITHIN_S + AGENT_NOTICED_WITHIN_S, waits
