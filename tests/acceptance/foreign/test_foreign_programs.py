"""docs/wire.md is enough: programs that know nothing else join, work, wait, and are refused when late."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from outrider.broker.codec import Format, dump, load
from tests.acceptance.foreign.conftest import ONLY, Fleet, Foreign
from tests.support.waiting import eventually

Line = dict[str, Any]


@pytest.fixture
async def agent(fleet: Fleet, foreign_python: Path, tmp_path: Path) -> AsyncIterator[Foreign]:
    """A foreign agent that has joined."""
    spool = str(tmp_path / "spool")
    program = Foreign(foreign_python, "foreign_agent.py", fleet.url, fleet.name, "foreign-1", spool)
    try:
        await line(program, "joined")
        yield program
    finally:
        program.end()


async def line(program: Foreign, key: str) -> Line:
    """The first line with this key that the program has printed."""

    async def printed() -> Line | None:
        if program.child.poll() not in (None, 0):
            raise AssertionError(program.err)
        lines = [json.loads(text) for text in program.out.splitlines()]
        return next((found for found in lines if key in found), None)

    return await eventually(printed, what=f"a line with {key}")


async def ask(fleet: Fleet, subject: str, body: Any) -> Line:
    answer: Line = load((await fleet.connection.request(subject, dump(body, Format.JSON), 5.0)).data)
    return answer


async def state_of(fleet: Fleet, task_id: str) -> Line:
    return await ask(fleet, fleet.subjects.get, {"task_id": task_id})


def test_the_environment_holds_only_a_nats_client_and_messagepack(foreign_python: Path) -> None:
    code = "import importlib.metadata as m; print(sorted(d.name for d in m.distributions()))"
    seen = subprocess.run([foreign_python, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == str(sorted(ONLY))
    tried = subprocess.run([foreign_python, "-I", "-c", "import outrider"], check=False, capture_output=True)
    assert b"ModuleNotFoundError" in tried.stderr


async def test_a_foreign_agent_does_the_work_of_a_foreign_client(
    fleet: Fleet, foreign_python: Path, agent: Foreign
) -> None:
    payload = json.dumps({"text": "all is well"})
    client = Foreign(foreign_python, "foreign_client.py", fleet.url, fleet.name, "shout", payload)
    try:
        assert await asyncio.to_thread(client.child.wait, 30) == 0, client.err
        seen = json.loads(client.out)
    finally:
        client.end()
    assert (seen["state"], seen["result"]) == ("succeeded", {"text": "ALL IS WELL"})
    assert seen["chunks"] == ["ALL ", "IS ", "WELL "]
    view = await state_of(fleet, seen["task_id"])
    assert (view["state"], view["agent"], view["attempts"]) == ("succeeded", "foreign-1", 1)


async def test_an_outcome_with_an_old_epoch_is_refused_or_ignored(fleet: Fleet, agent: Foreign) -> None:
    submitted = await ask(fleet, fleet.subjects.submit, {"kind": "stubborn", "payload": {}})
    task_id = submitted["task_id"]

    tried = await line(agent, "with_guard")
    assert tried["with_guard"] == 10071  # the server refuses what expects an old sequence
    assert tried["without_guard"] > 0  # it stores what expects nothing ...

    async def counted() -> bool:
        stats = await ask(fleet, fleet.subjects.stats, {})
        return bool(stats["counters"].get("ignored_entries") == 1)

    await eventually(counted, what="the entry counted as ignored")
    view = await state_of(fleet, task_id)
    assert (view["state"], view["attempts"]) == ("running", 2)  # ... and nobody believes it

    await fleet.connection.publish(f"{fleet.name}.go-on.{task_id}")
    # The ignored entry moved the sequence, so the honest outcome is refused first, settled and sent again.
    assert (await line(agent, "settled"))["settled"] == "resend"

    async def over() -> Line | None:
        seen = await state_of(fleet, task_id)
        return seen if seen["state"] == "succeeded" else None

    view = await eventually(over, what="the task succeeded")
    assert (view["result"], view["attempts"]) == ("in time", 2)


async def test_a_foreign_agent_that_is_drained_finishes_and_leaves(fleet: Fleet, agent: Foreign) -> None:
    done = await ask(fleet, fleet.subjects.agent("foreign-1", "drain"), {})
    assert done == {"ok": True, "in_flight": 0}
    assert await asyncio.to_thread(agent.child.wait, 10) == 0, agent.err
    assert "left" in agent.out

    async def gone() -> bool:
        agents = (await ask(fleet, fleet.subjects.agents, {}))["agents"]
        return [seen["state"] for seen in agents] == ["offline"]

    await eventually(gone, what="the agent shown offline")
