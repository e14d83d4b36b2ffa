"""A fleet as a user runs it: real `outrider` processes on a private server, and the pages they serve."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2

from tests.support.processes import Process

QUICK = {
    # A killed agent is found out in a second or two instead of ten.
    "OUTRIDER_HEARTBEAT_S": "1",
    "OUTRIDER_PING_EVERY_S": "0.5",
    "OUTRIDER_OFFLINE_AFTER_S": "4",
}


class Fleet:
    """Starts parts by their commands; all of them end with the context."""

    def __init__(self, url: str, fleet: str, state: Path) -> None:
        self._env = {"NATS_URL": url, "OUTRIDER_FLEET": fleet, "OUTRIDER_STATE": str(state)}
        self._stack = AsyncExitStack()
        self.agents: dict[str, Process] = {}
        self.address = ""
        self.ui: Process | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, url: str, fleet: str, state: Path) -> AsyncIterator[Fleet]:
        """An orchestrator and the pages; agents come by `agent`."""
        self = cls(url, fleet, state)
        async with self._stack:
            await self.start("orchestrator", env=QUICK)
            await self.start_ui(0)
            yield self

    async def start(self, *arguments: str, env: dict[str, str] | None = None) -> Process:
        return await self._stack.enter_async_context(Process(*arguments, env=self._env | (env or {})))

    async def start_ui(self, port: int, env: dict[str, str] | None = None) -> None:
        self.ui = await self.start("ui", "--port", str(port), env=env)
        found = re.search(r"http://\S+", self.ui.err)
        assert found is not None
        self.address = found.group()

    async def agent(
        self, name: str, kinds: str, slots: int = 1, env: dict[str, str] | None = None
    ) -> Process:
        arguments = ("agent", "--name", name, "--kinds", kinds, "--slots", str(slots))
        self.agents[name] = await self.start(*arguments, env=env)
        return self.agents[name]

    async def submit(self, kind: str, payload: object) -> str:
        async with httpx2.AsyncClient(base_url=self.address, timeout=20) as http:
            answer = await http.post("/api/v1/tasks", json={"kind": kind, "payload": payload})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["task_id"])
