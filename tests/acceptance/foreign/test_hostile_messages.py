"""Nonsense on every subject that a member may publish to is ignored or a dead letter; nothing else breaks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outrider.broker.codec import Format, dump, load
from tests.acceptance.foreign.conftest import Fleet
from tests.support.processes import Process
from tests.support.waiting import eventually

NONSENSE = [
    b"",
    b"{",
    b"\xc1",
    b"\x80",
    b"[" * 5000,
    b"\x91" * 5000,
    b'{"type": [], "v": {}}',
    b'{"type": "succeeded", "v": "1"}',
    b'{"type": "succeeded", "task_id": 1e400}',
    b'{"agent_id": {"a": NaN}}',
    b'{"v": 1' + b"0" * 400 + b"}",
]


def task(**fields: Any) -> bytes:
    return json.dumps({"kind": "echo", "task_id": "poison", "payload": {}} | fields).encode()


POISON = [
    *NONSENSE,
    task(payload=10**400),
    task(payload="\ud800"),
    task(deadline_at=10**400),
    task(kind="other"),
    task(task_id="other"),
    task(priority=9),
    task(priority="5"),
    task(requires=["two words"]),
    task(max_attempts=-1),
    task(v=99),
]


@pytest.fixture
async def echo(fleet: Fleet) -> AsyncIterator[None]:
    env = {"NATS_URL": fleet.url, "OUTRIDER_FLEET": fleet.name}
    async with Process("agent", "--kinds", "echo", "--name", "echo-1", env=env):
        yield


async def ask(fleet: Fleet, subject: str, **body: Any) -> Any:
    return load((await fleet.connection.request(subject, dump(body, Format.JSON), 5.0)).data)


async def succeeds(fleet: Fleet) -> None:
    """A task like any other is done."""
    task_id = (await ask(fleet, fleet.subjects.submit, kind="echo", payload=1))["task_id"]

    async def over() -> bool:
        return bool((await ask(fleet, fleet.subjects.get, task_id=task_id))["state"] == "succeeded")

    await eventually(over, what="an ordinary task done")


@pytest.mark.usefixtures("echo")
async def test_tasks_that_cannot_be_read_end_as_dead_letters(fleet: Fleet) -> None:
    ids = [f"poison-{number}" for number in range(len(POISON))]
    for task_id, body in zip(ids, POISON, strict=True):
        whole = body.replace(b'"poison"', f'"{task_id}"'.encode())
        ack = await fleet.connection.request(fleet.subjects.task("echo", 5, task_id), whole)
        assert b'"seq"' in ack.data

    async def all_dead() -> bool:
        views = [await ask(fleet, fleet.subjects.get, task_id=task_id) for task_id in ids]
        return [(v.get("state"), (v.get("error") or {}).get("code")) for v in views] == [
            ("dead", "malformed")
        ] * len(ids)

    await eventually(all_dead, what="all of them dead")
    await succeeds(fleet)
    info = await fleet.connection.api(f"STREAM.INFO.{fleet.subjects.tasks_stream}")
    assert info["state"]["messages"] == 0


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("where", ["agent", "orchestrator", "fleet"])
async def test_nonsense_elsewhere_is_passed_over(fleet: Fleet, where: str) -> None:
    s = fleet.subjects
    subjects = {
        "agent": [
            *(s.agent("echo-1", verb) for verb in ("assign", "cancel", "renew", "ping", "heartbeat")),
            s.chunk("echo-1", "t-1", 1),
            f"{s.fleet}.chunk.echo-1.t-1.²",
            s.ledger_agent("t-1", "echo-1"),
        ],
        "orchestrator": [
            s.ledger_orchestrator("t-1", "o-1"),
            f"{s.fleet}.ledger.t-1.strange",
            f"{s.fleet}.ledger.t-1.strange.role.deep",
            s.pulse("o-1"),
            s.member("echo-1"),
            s.control("c-1"),
        ],
        "fleet": [
            *(s.submit, s.get, s.cancel, s.agents, s.stats),
            s.agent("echo-1", "join"),
            s.agent("echo-1", "settle"),
            f"{s.fleet}.agent.no name.join".replace(" ", "$"),
        ],
    }
    for subject in subjects[where]:
        for body in NONSENSE:
            await fleet.connection.publish(subject, body, fleet.connection.new_inbox())
    await succeeds(fleet)
