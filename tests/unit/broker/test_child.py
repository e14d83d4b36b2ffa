"""A job done by a child: it is told, it is heard of when it fails, and it never outlives who wanted it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from outrider.broker.child import ChildFailed, run_child
from tests.support.waiting import eventually

WORKER = """
import asyncio, os, pathlib
from outrider.broker.child import do_job
from outrider.broker.errors import Refused

async def work(job):
    note = pathlib.Path(job["note"])
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").rename(note)
    if job.get("refused"):
        raise Refused(job["refused"])
    if job.get("code"):
        os._exit(job["code"])
    if job.get("hangs"):
        await asyncio.Event().wait()

do_job("cake", work)
"""


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the child writes its process id; the working folder then holds the child's module, `worker`."""
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "note"


def is_gone(note: Path) -> bool:
    try:
        os.kill(int(note.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_job_is_done_and_its_child_ends(note: Path) -> None:
    await run_child("worker", {"note": str(note), "nice": 0}, 60.0)
    assert is_gone(note)


async def test_a_code_other_than_zero_is_a_failure_that_names_it(note: Path) -> None:
    with pytest.raises(ChildFailed, match="code 7"):
        await run_child("worker", {"note": str(note), "code": 7}, 60.0)


async def test_what_kept_it_from_its_work_stands_on_stderr(
    note: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ChildFailed, match="code 1"):
        await run_child("worker", {"note": str(note), "refused": "no flour"}, 60.0)
    assert capfd.readouterr().err == "outrider: no cake: no flour\n"


async def test_a_child_that_takes_too_long_is_killed(note: Path) -> None:
    with pytest.raises(ChildFailed, match=r"killed, it took longer than 0\.2 s"):
        await run_child("worker", {"note": str(note), "hangs": True}, 0.2)
    assert not note.exists() or is_gone(note)


async def test_who_is_cancelled_takes_the_child_along(note: Path) -> None:
    running = asyncio.create_task(run_child("worker", {"note": str(note), "hangs": True}, 60.0))

    async def has_begun() -> bool:
        return note.exists()

    await eventually(has_begun, what="the child's work")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert is_gone(note)


async def test_a_child_ends_when_its_parent_is_gone(note: Path) -> None:
    job = f'{{"note": "{note}", "hangs": true}}\n'.encode()
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "worker", stdin=subprocess.PIPE)

    async def has_begun() -> bool:
        return note.exists()

    assert child.stdin is not None
    child.stdin.write(job)
    await eventually(has_begun, what="the child's work")
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), 30) == 1


async def test_no_process_is_a_failure_too(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(note))
    with pytest.raises(ChildFailed, match="no process for it"):
        await run_child("worker", {"note": str(note)}, 60.0)
