"""The stock `nats` command sees and uses a fleet as docs/wire.md section 11 says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from outrider.broker.codec import load
from outrider.broker.errors import NobodyAnswers, TimedOut
from outrider.broker.object_ref import ref_of
from tests.acceptance.foreign.conftest import Fleet
from tests.support.processes import Process
from tests.support.waiting import eventually

pytestmark = pytest.mark.nats_cli

DECODE = f"{sys.executable} -m outrider.cli decode"


@pytest.fixture(autouse=True)
def _needs_nats() -> None:
    if shutil.which("nats") is None:
        why = "the nats command is not on PATH: go install github.com/nats-io/natscli/nats@v0.4.0"
        if "nats" in os.environ.get("OUTRIDER_TEST_REQUIRE", "").split(","):
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture
async def echo(fleet: Fleet) -> AsyncIterator[None]:
    """An agent for kind `echo`."""
    env = {"NATS_URL": fleet.url, "OUTRIDER_FLEET": fleet.name}
    async with Process("agent", "--kinds", "echo", "--name", "echo-1", env=env):
        yield


async def start(fleet: Fleet, tmp_path: Path, *arguments: str) -> asyncio.subprocess.Process:
    env = {**os.environ, "NATS_URL": fleet.url, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    return await asyncio.create_subprocess_exec(
        "nats",
        "--server",
        fleet.url,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )


async def nats(fleet: Fleet, tmp_path: Path, *arguments: str) -> str:
    """What `nats ...` prints; it must succeed."""
    async with asyncio.timeout(30):
        child = await start(fleet, tmp_path, *arguments)
        out, err = await child.communicate()
    assert child.returncode == 0, (out + err).decode()
    return out.decode()


def in_terminal(fleet: Fleet, tmp_path: Path, *arguments: str) -> str:
    """What `nats ...` shows on a terminal, which some of its commands insist on."""
    mine, its = pty.openpty()
    child = subprocess.Popen(
        ["nats", "--server", fleet.url, *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "dumb", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
    )
    os.close(its)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is closed when the child ends
        while piece := os.read(mine, 4096):
            shown += piece
    os.close(mine)
    assert child.wait(30) == 0, shown.decode()
    return shown.decode()


async def request(fleet: Fleet, tmp_path: Path, verb: str, body: str, *options: str) -> Any:
    return json.loads(await nats(fleet, tmp_path, "req", "--raw", *options, f"{fleet.name}.{verb}", body))


async def ended(fleet: Fleet, tmp_path: Path, task_id: str) -> Any:
    async def over() -> Any:
        view = await request(fleet, tmp_path, "get", json.dumps({"task_id": task_id}))
        return view if view["state"] == "succeeded" else None

    return await eventually(over, what="the task succeeded")


@pytest.mark.usefixtures("echo")
async def test_a_task_is_submitted_looked_at_and_replayed(fleet: Fleet, tmp_path: Path) -> None:
    submitted = await request(fleet, tmp_path, "submit", '{"kind":"echo","payload":{"text":"hi"}}')
    task_id = submitted["task_id"]
    assert submitted["state"] == "queued"
    view = await ended(fleet, tmp_path, task_id)
    assert (view["agent"], view["result"]) == ("echo-1", {"text": "hi"})

    stream, story = fleet.subjects.ledger_stream, fleet.subjects.story(task_id)
    seen = await asyncio.to_thread(
        in_terminal, fleet, tmp_path, "stream", "view", stream, "--subject", story, "--translate", DECODE
    )
    entries = [json.loads(text) for text in seen.splitlines() if text.startswith("{")]
    assert [entry["type"] for entry in entries] == ["assigned", "succeeded"]
    assert fleet.subjects.ledger_agent(task_id, "echo-1") in seen


async def test_errors_are_answered_in_json_even_to_nonsense(fleet: Fleet, tmp_path: Path) -> None:
    answer = await request(fleet, tmp_path, "submit", '{"kind":"cook"}')
    assert answer["error"]["code"] == "unknown_kind"
    answer = await request(fleet, tmp_path, "submit", "kind=echo")
    assert answer["error"]["code"] == "malformed"
    answer = await request(fleet, tmp_path, "submit", '{"kind":"echo","priority":"high"}')
    assert "priority" in answer["error"]["message"]
    assert await request(fleet, tmp_path, "agents", "") == {"agents": [], "kinds": [], "paused": []}


@pytest.mark.usefixtures("echo")
async def test_services_are_listed_and_counted(fleet: Fleet, tmp_path: Path) -> None:
    await request(fleet, tmp_path, "agents", "{}")
    listed = await nats(fleet, tmp_path, "micro", "ls")
    assert "outrider-orchestrator" in listed
    assert "outrider-agent" in listed
    told = await nats(fleet, tmp_path, "micro", "info", "outrider-orchestrator")
    assert f"{fleet.name}.submit" in told
    counted = await nats(fleet, tmp_path, "micro", "stats", "outrider-orchestrator")
    assert "agents" in counted


@pytest.mark.usefixtures("echo")
async def test_what_happens_can_be_watched_and_translated(fleet: Fleet, tmp_path: Path) -> None:
    watched = fleet.subjects.all_live
    child = await start(fleet, tmp_path, "sub", watched, "--raw", "--translate", DECODE)
    try:
        await eventually(lambda: somebody_listens(fleet), what="nats sub listening")
        await request(fleet, tmp_path, "submit", '{"kind":"echo","payload":1}')
        assert child.stdout is not None
        types: list[str] = []
        async with asyncio.timeout(30):
            while "succeeded" not in types:
                text = (await child.stdout.readline()).decode()
                types += [json.loads(text).get("type", "probe")] if text.startswith("{") else []
    finally:
        child.kill()
        await child.communicate()
    assert [type_ for type_ in types if type_ != "probe"] == ["assigned", "succeeded"]


async def somebody_listens(fleet: Fleet) -> bool:
    """Whether somebody hears live entries: a request there is then not refused at once."""
    try:
        await fleet.connection.request(f"{fleet.name}.live.none.orchestrator.none", b"{}", 0.1)
    except NobodyAnswers:
        return False
    except TimedOut:
        return True
    return True


async def test_an_attempt_can_be_done_by_hand(fleet: Fleet, tmp_path: Path) -> None:
    join = {"agent_id": "hand-1", "instance": "i-1", "kinds": ["cook"], "slots": 1}
    assert "heartbeat_s" in await request(fleet, tmp_path, "agent.hand-1.join", json.dumps(join))
    answering = await start(
        fleet, tmp_path, "reply", fleet.subjects.agent("hand-1", "assign"), '{"accepted":true}'
    )
    try:
        task_id = (await request(fleet, tmp_path, "submit", '{"kind":"cook"}'))["task_id"]

        async def runs() -> Any:
            view = await request(fleet, tmp_path, "get", json.dumps({"task_id": task_id}))
            return view if view["state"] == "running" else None

        await eventually(runs, what="the attempt accepted")
        story = fleet.subjects.story(task_id)
        info = json.loads(
            await nats(fleet, tmp_path, "stream", "get", fleet.subjects.ledger_stream, "-S", story, "--json")
        )
        entry = {"type": "succeeded", "task_id": task_id, "attempt": 1, "agent_id": "hand-1"}
        entry |= {"epoch": info["seq"], "result": "done"}
        guard = [
            "-H",
            f"Nats-Expected-Last-Subject-Sequence:{info['seq']}",
            "-H",
            f"Nats-Expected-Last-Subject-Sequence-Subject:{story}",
        ]
        ack = await request(fleet, tmp_path, f"ledger.{task_id}.agent.hand-1", json.dumps(entry), *guard)
        assert ack["seq"] > info["seq"]
        assert (await ended(fleet, tmp_path, task_id))["result"] == "done"
    finally:
        answering.kill()
        await answering.communicate()


@pytest.mark.usefixtures("echo")
async def test_a_large_payload_is_put_listed_and_named_by_hash(fleet: Fleet, tmp_path: Path) -> None:
    body = json.dumps({"text": "x" * 400_000}).encode()
    ref = ref_of(body)
    file = tmp_path / "big.json"
    file.write_bytes(body)
    bucket = fleet.subjects.objects_bucket
    await nats(fleet, tmp_path, "object", "put", bucket, str(file), "--name", ref.sha256, "--force")
    assert ref.sha256 in await nats(fleet, tmp_path, "object", "ls", bucket)
    named = {"kind": "echo", "payload_ref": {"sha256": ref.sha256, "size": ref.size}}
    submitted = await request(fleet, tmp_path, "submit", json.dumps(named))
    view = await ended(fleet, tmp_path, submitted["task_id"])
    assert (view.get("result"), view["payload_ref"]) == (None, named["payload_ref"])
    fetched = tmp_path / "result"
    name = view["result_ref"]["sha256"]
    await nats(fleet, tmp_path, "object", "get", bucket, name, "--output", str(fetched), "--force")
    assert load(fetched.read_bytes()) == json.loads(body)
