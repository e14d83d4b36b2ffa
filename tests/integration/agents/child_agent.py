"""An agent program as a user writes one, run by tests as a process; its handlers wait for a file."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

from outrider.agents import Agent, Task

agent = Agent("a1", slots=2, labels=["given"])


def note(folder: str) -> Path:
    """Leave a trace of each run; gives the file that lets the handler go on."""
    with (Path(folder) / "runs").open("a") as runs:
        runs.write("run\n")
    return Path(folder) / "go"


@agent.handles("wait")
async def wait(task: Task) -> str:
    go = note(task.payload)
    never = asyncio.Event()
    while not go.exists():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), 0.01)
    return "done"


@agent.handles("talk")
async def talk(task: Task) -> str:
    """Emits its last words when it may go on."""
    result = await wait(task)
    await task.emit("last words")
    return result


@agent.handles("block")
async def block(task: Task) -> str:
    """Blocks the whole event loop, as a careless handler does."""
    go, never = note(task.payload), threading.Event()
    while not go.exists():
        never.wait(0.01)
    return "done"


if __name__ == "__main__":
    agent.run()
