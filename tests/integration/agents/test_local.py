"""The local model really answers: real weights, the real `openai` SDK, one server for all agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider.agents import build_agent
from outrider.agents.local import INSTALL, find_or_start, local_model, model_file
from outrider.broker.config import NatsSettings
from outrider.broker.errors import MissingExtra
from outrider.broker.outcomes import Succeeded
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.support.waiting import eventually


def is_missing() -> bool:
    try:
        model_file()
    except MissingExtra:
        return True
    return False


pytestmark = pytest.mark.skipif(is_missing(), reason=f"the local model is not installed: {INSTALL}")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the agents of this test find their server; a server that stayed is ended."""
    found = tmp_path / "state" / "local-model"
    yield found
    if (found / "address.json").exists():
        os.kill(pid(found), signal.SIGKILL)


def pid(folder: Path) -> int:
    return int(json.loads((folder / "address.json").read_text())["pid"])


def is_running(number: int) -> bool:
    """Whether the process is there and no zombie."""
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()[:1] not in ("", "Z")


async def test_local_agents_share_one_server_that_answers_and_ends_with_its_last_user(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, folder: Path
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tasks: dict[str, tuple[str, str, Any]] = {
        "t1": ("a1", "chat", {"prompt": "What is the capital of France?", "max_tokens": 24}),
        "t2": ("a2", "classify", {"text": "I love it", "labels": ["good", "bad"]}),
        "t3": ("a2", "extract", {"text": "There are 5 of them.", "schema": schema, "max_tokens": 40}),
        "t4": ("a1", "summarize", {"text": "NATS moves messages. " * 10, "max_tokens": 24}),
    }
    async with serving(build_agent(["chat", "summarize"], "a1"), settings, subjects):
        server = pid(folder)
        async with serving(build_agent(["classify", "extract"], "a2"), settings, subjects):
            assert pid(folder) == server
            for task_id, (agent, kind, payload) in tasks.items():
                await part.give(agent, kind, payload, task_id=task_id)
            results = {}
            for task_id in tasks:
                outcome = await part.outcome(task_id, within_s=100)
                assert isinstance(outcome, Succeeded), outcome
                assert outcome.usage.tokens_in > 0
                assert outcome.usage.tokens_out > 0
                assert outcome.usage.cost_usd == 0
                results[task_id] = outcome.result
        assert is_running(server)
    assert results["t1"]["text"].strip()
    assert results["t1"]["text"] == "".join(c.data for c in await part.chunks("t1"))
    assert results["t2"]["label"] in ("good", "bad")
    assert isinstance(results["t3"]["data"]["n"], int)
    assert results["t4"]["summary"]

    async def gone() -> bool:
        return not is_running(server)

    await eventually(gone, 10, "the server ended")


async def test_a_server_that_died_comes_back_at_the_same_address(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.agents.local.CHECK_S", 0.1)
    async with local_model(folder) as endpoint:
        first = pid(folder)
        os.kill(first, signal.SIGKILL)

        async def is_back() -> bool:
            return pid(folder) != first

        await eventually(is_back, 60, "another server")
        assert find_or_start(folder) == endpoint


async def test_the_endpoint_wants_its_key(folder: Path) -> None:
    from openai import AsyncOpenAI, AuthenticationError

    async with (
        local_model(folder) as endpoint,
        AsyncOpenAI(api_key="guess", base_url=endpoint.base_url, max_retries=0) as stranger,
    ):
        with pytest.raises(AuthenticationError):
            await stranger.chat.completions.create(model="x", messages=[{"role": "user", "content": "hi"}])
