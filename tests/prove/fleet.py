"""A whole fleet of real processes on a nats-server of its own, in one folder, for one schedule."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from outrider.broker.config import NatsSettings
from outrider.broker.server import PrivateServer
from tests.prove.notes import Execution, read_executions
from tests.prove.nursery import Nursery
from tests.prove.parts import Part
from tests.prove.passing import pass_time
from tests.prove.plan import SEATS

FLEET = "prove"
READY_WITHIN_S = 60.0
SHORT = {
    "OUTRIDER_HEARTBEAT_S": "1",
    "OUTRIDER_OFFLINE_AFTER_S": "4",
    "OUTRIDER_PING_EVERY_S": "0.5",
    "OUTRIDER_JOIN_SILENCE_S": "1",
    "OUTRIDER_PULSE_EVERY_S": "0.4",
    "OUTRIDER_OWNER_SILENT_S": "1.5",
    "OUTRIDER_RESEND_ASSIGN_S": "1",
    "OUTRIDER_BACKOFF_FIRST_S": "0.1",
    "OUTRIDER_BACKOFF_CAP_S": "2",
    "OUTRIDER_COOL_DOWN_S": "1",
    "OUTRIDER_UNFIT_FIRST_S": "0.2",
    "OUTRIDER_SNAPSHOT_EVERY": "60",
}
"""Thresholds that make a schedule a matter of seconds; what they mean does not change."""

NOBODYS_FAULT = {"OUTRIDER_LOST_BEFORE_POISON": "20"}
"""Here agents are killed, so a task that several of them died with is no poison."""


class Fleet:
    """The processes by role, and the server."""

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        bounds: Mapping[str, str] | None = None,
        *,
        is_default: bool,
        servers: NatsSettings | None = None,
    ) -> None:
        """On a server of its own, or on `servers` that others look after."""
        self._bounds = dict(bounds or {})
        self.server = PrivateServer(store=folder / "store")
        self._servers = servers
        self._folder = folder
        self._thresholds = {} if is_default else SHORT
        self._server_is_down = False
        self.parts: dict[str, list[Part]] = {
            "orchestrator": [self._part(nursery, "orchestrator", n, "orchestrator") for n in range(2)],
            "router": [self._part(nursery, "router", 0, "router")],
            "bridge": [self._part(nursery, "bridge", 0, "ui", "--port", "0")],
            "agent": [
                self._part(nursery, "agent", n, "writing-agent", f"agent-{n}") for n in range(SEATS["agent"])
            ],
        }

    def _part(self, nursery: Nursery, role: str, seat: int, *arguments: str) -> Part:
        return Part(nursery, role, f"{role}-{seat}", list(arguments), self._folder)

    @property
    def settings(self) -> NatsSettings:
        return self._servers or NatsSettings(url=self.server.url, source="proof")

    @property
    def all_parts(self) -> list[Part]:
        return [part for parts in self.parts.values() for part in parts]

    async def start(self) -> None:
        await self.server.start()
        await self.start_parts()

    async def start_parts(self) -> None:
        """Start every process and wait until each said that it is ready.

        A cluster that has just formed may be busy electing: a part that gave up is started again.
        """
        for part in self.all_parts:
            part.start(self._environment(part))
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                for part in self.all_parts:
                    while not part.lives:
                        part.start_again_if_ended()
                        await pass_time(0.02)
        except TimeoutError:
            words = [f"{part.name}: {part.last_words}" for part in self.all_parts if not part.lives]
            raise AssertionError(f"not ready within {READY_WITHIN_S:g} s: {words}") from None

    def _environment(self, part: Part) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return (
            inherited
            | NOBODYS_FAULT
            | self._thresholds
            | self._bounds
            | {
                "NATS_URL": self.settings.url,
                "OUTRIDER_FLEET": FLEET,
                "OUTRIDER_STATE": str(self._folder / "state"),
                "OUTRIDER_PROVE_NOTES": str(self._notes(part)),
            }
        )

    def _notes(self, part: Part) -> Path:
        return self._folder / f"{part.name}.notes"

    def executions(self) -> dict[str, Execution]:
        """What the handlers of all agents wrote down so far."""
        return read_executions(self._notes(part) for part in self.parts["agent"])

    # ---- the server as a victim

    @property
    def server_is_down(self) -> bool:
        return self._server_is_down

    def kill_server(self) -> None:
        self._server_is_down = True
        self.server.kill()

    def freeze_server(self) -> None:
        self._server_is_down = True
        os.kill(self.server.pid, signal.SIGSTOP)

    def thaw_server(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)
        self._server_is_down = False

    async def start_server(self) -> None:
        await self.server.start()
        self._server_is_down = False

    def end_parts(self) -> None:
        """Kill every process but the server, whatever state it is in."""
        for part in self.all_parts:
            part.is_down = True
            if part.pid:
                with contextlib.suppress(ProcessLookupError):
                    part.kill()

    def end(self) -> None:
        self.end_parts()
        self.server.kill()


@asynccontextmanager
async def running_fleet(nursery: Nursery, folder: Path, *, is_default: bool) -> AsyncIterator[Fleet]:
    """A fleet whose parts all said that they are ready."""
    folder.mkdir(parents=True)
    fleet = Fleet(nursery, folder, is_default=is_default)
    try:
        await fleet.start()
        yield fleet
    finally:
        fleet.end()
