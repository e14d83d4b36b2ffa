"""The short form of the kill schedules, as a program runs it, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.prove.nursery import PROJECT
from tests.support.waiting import eventually

SCHEDULES, TASKS, SEED = 20, 800, 4000


def _prove(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.prove", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env=os.environ | {"TMPDIR": str(folder)},
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_or_recorded_twice_in_twenty_kill_schedules(tmp_path: Path) -> None:
    amount = ("--schedules", str(SCHEDULES), "--tasks", str(TASKS), "--seed", str(SEED), "--at-once", "4")
    run = _prove(tmp_path, "kills", *amount, "--json")
    output, told = run.communicate(timeout=290)
    assert run.returncode == 0, told
    figures = json.loads(output)
    assert (figures["schedules"], figures["tasks"]) == (SCHEDULES, TASKS)
    assert (figures["lost"], figures["recorded_twice"], figures["not_terminal"]) == (0, 0, 0), told
    assert figures["seeds_failed"] == []
    assert figures["kills"] == sum(figures["kills_by_role"].values())
    assert all(figures["kills_by_role"].values()), figures
    assert figures["interrupted_attempts"] > 0
    assert figures["faults_with_work_in_flight"] >= 0.8 * (figures["kills"] + figures["freezes"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
async def test_an_interrupted_proof_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = _prove(Path(folder), "kills", "--schedules", "2", "--seed", "1")

        async def is_under_way() -> bool:
            return any(Path(folder).glob("outrider-prove-*/schedule-*/agent-0.log"))

        await eventually(is_under_way, 30, "a schedule under way")
        below = _descendants(run.pid)
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
        run.communicate()
        assert below
        assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []
        assert list(Path(folder).iterdir()) == []


def _descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return children + [below for child in children for below in _descendants(child)]
