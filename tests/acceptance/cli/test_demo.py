"""The first thing a new user runs."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.cli.command import outrider
from tests.support.processes import Process
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def status_of(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return int(answer.status)


async def test_the_demo_does_twelve_tasks_and_keeps_serving(tmp_path: Path) -> None:
    env = {"OUTRIDER_STATE": str(tmp_path / "state")}
    demo = Process("demo", "--json", "--port", "0", env=env).start()
    try:

        async def has_document() -> bool:
            assert demo.child is not None
            assert demo.child.poll() is None, demo.err
            return demo.out.endswith("\n")

        await eventually(has_document, 200, "the summary")
        document = json.loads(demo.out)
        assert len(document["tasks"]) == 12, demo.err
        assert {task["kind"] for task in document["tasks"]} == {"chat", "summarize", "classify"}
        assert {task["state"] for task in document["tasks"]} == {"succeeded"}
        assert all(task["predicted_s"] and task["service_s"] for task in document["tasks"])
        assert "12 of 12 tasks succeeded" in demo.err
        assert "model" in demo.err.rpartition("chosen by:")[2]

        for page in ("/", "/admin"):
            assert await asyncio.to_thread(status_of, document["url"] + page) == 200
        second = outrider("submit", "classify", "--data", _CLASSIFY, "--within", "60", env=env)
        assert second.code == 0, second.err
    finally:
        demo.send(signal.SIGINT)
    assert await demo.ended() == 0
    shutil.rmtree(demo.folder, ignore_errors=True)


_CLASSIFY = json.dumps({"text": "It rains.", "labels": ["weather", "sport"]})
