"""`outrider up` as the owner of its processes: restarts what dies, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.cli.command import outrider
from tests.support.processes import Process
from tests.support.waiting import eventually


def children_of(pid: int) -> dict[int, str]:
    """Command lines of the processes that a process started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in pids)


def _state(pid: int) -> str:
    try:
        return (Path(f"/proc/{pid}") / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.fixture
def up(tmp_path: Path) -> Process:
    env = {"OUTRIDER_STATE": str(tmp_path / "state")}
    return Process("up", "--agents", "1", "--kinds", "echo", "--port", "0", env=env)


async def test_ctrl_c_stops_everything_in_order(up: Process, tmp_path: Path) -> None:
    up.start()
    await eventually(_says(up, "up ready"), 60)
    children = children_of(up.pid)
    assert len(children) == 5, children
    up.send(signal.SIGINT)
    assert await up.ended() == 0
    assert are_gone(list(children))
    assert not (tmp_path / "state" / "nats.json").exists()


async def test_a_killed_up_takes_its_children_with_it(up: Process) -> None:
    up.start()
    await eventually(_says(up, "up ready"), 60)
    children = list(children_of(up.pid))
    up.kill()

    async def all_gone() -> bool:
        return are_gone(children)

    await eventually(all_gone)


async def test_a_part_that_dies_is_started_again(up: Process, tmp_path: Path) -> None:
    up.start()
    await eventually(_says(up, "up ready"), 60)
    agents = [pid for pid, line in children_of(up.pid).items() if "--kinds" in line]
    os.kill(agents[0], signal.SIGKILL)
    await eventually(_says(up, "exit code -9"))

    async def works_again() -> bool:
        env = {"OUTRIDER_STATE": str(tmp_path / "state")}
        return outrider("submit", "echo", "--within", "10", env=env).code == 0

    await eventually(works_again, 30)
    up.send(signal.SIGTERM)
    assert await up.ended() == 0


async def test_a_part_that_cannot_start_ends_up_with_its_reason(tmp_path: Path) -> None:
    up = Process(
        "up", "--agents", "1", "--kinds", "paint", "--json", env={"OUTRIDER_STATE": str(tmp_path / "state")}
    ).start()
    assert await up.ended() == 4
    assert "paint" in json.loads(up.out)["error"]["message"]


def _says(process: Process, text: str):  # type: ignore[no-untyped-def]
    async def check() -> bool:
        assert process.child is not None
        assert process.child.poll() is None, process.err
        return text in process.err

    return check
