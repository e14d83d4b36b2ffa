"""Agents whose handlers wait until the test lets them go."""

from __future__ import annotations

import asyncio
from typing import Any

from outrider.agents import Agent, Task


def echo_agent(slots: int = 4) -> Agent:
    agent = Agent("a1", slots=slots)

    @agent.handles("echo")
    async def echo(task: Task) -> Any:
        return task.payload

    return agent


class Gate:
    """A handler that waits until it is let go, and tells what it saw."""

    def __init__(self) -> None:
        self.runs = 0
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, task: Task) -> str:
        self.runs += 1
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "done"


def gated(slots: int = 4) -> tuple[Agent, Gate]:
    agent, gate = Agent("a1", slots=slots), Gate()
    agent.handles("wait")(gate)
    return agent, gate
