"""One stay of an agent in a fleet: connect, join, serve, drain, leave. Knows the wire, not the handlers."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from outrider.agents.attempt import Handler
from outrider.agents.attempts import Attempts
from outrider.agents.chunks import ChunkStream, Route
from outrider.agents.heartbeat import Pulse
from outrider.agents.membership import is_name_free, join
from outrider.agents.recorder import Recorder
from outrider.agents.spool import Spool
from outrider.agents.task import Task
from outrider.broker.background import Background
from outrider.broker.codec import decode
from outrider.broker.config import LARGEST_OBJECT_BYTES
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable
from outrider.broker.messages import AssignAnswer, Assignment, CancelAttempt, Done, Heartbeat, Join, Renew
from outrider.broker.object_ref import ObjectRef
from outrider.broker.objects import ObjectStore, value_in
from outrider.broker.pipeline import Appender
from outrider.broker.service import Endpoints
from outrider.broker.states import AgentState
from outrider.broker.subjects import Subjects

log = logging.getLogger(__name__)

LEAVE_WITHIN_S = 5.0
"""How long a leaving agent waits for the ledger; what is open then stays on disk."""
INTERRUPT_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What an agent declares of itself."""

    name: str
    slots: int
    labels: tuple[str, ...]
    handlers: Mapping[str, Handler]
    largest_object: int = LARGEST_OBJECT_BYTES

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.handlers)


def own_version() -> str:
    try:
        return version("outrider")
    except PackageNotFoundError:
        return "0.0.0"


class Session:
    """Everything that lives from connect to leave. Run it once with `run`."""

    def __init__(self, profile: Profile, subjects: Subjects, connection: Connection, spool: Spool) -> None:
        self._profile = profile
        self._subjects = subjects
        self._connection = connection
        self._instance = uuid.uuid4().hex[:12]
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._appender = Appender(connection)
        self._objects = ObjectStore(connection, subjects, self._appender, profile.largest_object)
        self._recorder = Recorder(connection, self._appender, subjects, profile.name, spool, self._objects)
        self._attempts = Attempts(
            profile.name, profile.slots, profile.handlers, self._recorder, self._open_stream, self._fetch
        )
        self._endpoints = Endpoints(connection, "outrider-agent", own_version(), f"agent {profile.name}")
        self._leave = asyncio.Event()
        self._rejoin = asyncio.Event()
        self._state = AgentState.ONLINE
        self._pulse: Pulse | None = None
        self._heartbeat_s = 0.0

    async def run(self, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        """Serve until `stop` is set or a drain was asked for, finish what runs, leave.

        Raises Refused when the name is taken, and whatever ends a part of the agent for good.
        """
        await self._appender.start()
        self._connection.on_link(lambda is_up: self._rejoin.set() if is_up else None)
        async with Background() as background:
            works = (self._appender.run(), self._recorder.run(), self._watch_link(), self._watch_attempts())
            for work in works:
                background.spawn(work)
            try:
                await self._serve(background, stop, on_ready)
            except asyncio.CancelledError:
                await self._attempts.interrupt(INTERRUPT_WITHIN_S)
                await self._recorder.emptied(INTERRUPT_WITHIN_S)
                raise
            finally:
                await self._say_goodbye()
            await background.end()

    async def _serve(
        self, background: Background, stop: asyncio.Event, on_ready: Callable[[str], None]
    ) -> None:
        leaving = background.spawn(self._until_leaving(stop))
        try:
            entering = background.spawn(self._enter())
            await asyncio.wait({entering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not entering.done():
                entering.cancel()
                return
            background.spawn(self._watch_pulse(entering.result()))
            background.spawn(self._stay_joined())
            on_ready(f"agent {self._profile.name}")
            await leaving
        finally:
            leaving.cancel()
        await self._drain()

    async def _enter(self) -> Pulse:
        """Listen and join, in the order that hides neither this agent nor another of the same name."""
        await self._endpoints.start()
        is_free = await is_name_free(self._connection, self._subjects, self._profile.name)
        if is_free:
            await self._listen()
        self._recorder.recover()
        await self._join()
        if not is_free:
            await self._listen()
        self._pulse = Pulse(
            self._connection.settings, self._subjects, self._profile.name, self._heartbeat_s, self._status
        )
        await self._pulse.start()
        return self._pulse

    async def _listen(self) -> None:
        for verb, handler in {
            "assign": self._assign,
            "cancel": self._cancel,
            "drain": self._on_drain,
            "renew": self._renew,
        }.items():
            await self._endpoints.add(
                verb, self._subjects.agent(self._profile.name, verb), handler, inline=True
            )
        await self._connection.settle()

    async def _join(self) -> None:
        profile = self._profile
        request = Join(
            agent_id=profile.name,
            instance=self._instance,
            kinds=profile.kinds,
            slots=profile.slots,
            labels=profile.labels,
            spooled=self._recorder.spooled,
            host=socket.gethostname(),
            version=own_version(),
        )
        self._heartbeat_s = (await join(self._connection, self._subjects, request)).heartbeat_s

    async def _stay_joined(self) -> None:
        while True:
            await self._rejoin.wait()
            self._rejoin.clear()
            await self._join()
            self._beat()

    async def _until_leaving(self, stop: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, self._leave)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _watch_link(self) -> None:
        await self._connection.closed.wait()
        raise NatsUnavailable("the connection to NATS was closed for good")

    async def _watch_attempts(self) -> None:
        await self._attempts.broken

    async def _watch_pulse(self, pulse: Pulse) -> None:
        await pulse.ended

    def _start_draining(self) -> None:
        self._attempts.is_draining = True
        self._state = AgentState.DRAINING
        self._beat()

    async def _drain(self) -> None:
        self._start_draining()
        await self._attempts.finished(LEAVE_WITHIN_S)
        kept = await self._recorder.emptied(LEAVE_WITHIN_S)
        if kept:
            log.warning(
                "outcomes stay on disk until agent %s starts here again: %d", self._profile.name, len(kept)
            )

    async def _say_goodbye(self) -> None:
        self._attempts.is_draining = True
        await self._endpoints.stop()
        self._attempts.abandon()
        self._state = AgentState.OFFLINE
        if self._pulse is not None:
            await self._pulse.stop()

    def _beat(self) -> None:
        if self._pulse is not None:
            self._pulse.beat()

    def _status(self) -> Heartbeat:
        """What a heartbeat says. Called from the pulse's thread."""
        # Running first: an epoch that moves meanwhile then stands in both and never in none.
        running = self._attempts.epochs
        return Heartbeat(
            agent_id=self._profile.name,
            instance=self._instance,
            state=self._state,
            slots=self._profile.slots,
            running=running,
            spooled=self._recorder.epochs,
            kinds=self._profile.kinds,
            labels=self._profile.labels,
            load={"cpu": round(os.getloadavg()[0] / (os.cpu_count() or 1), 3)},
            sent_at=time.time(),
        )

    def _open_stream(self, task: Task) -> ChunkStream:
        route = Route(
            self._subjects.chunk(self._profile.name, task.task_id, task.attempt),
            f"{self._instance}.{task.epoch}",
        )
        return ChunkStream(self._appender, route, self._loop, self._thread)

    async def _fetch(self, ref: ObjectRef) -> Any:
        return value_in(await self._objects.get(ref))

    async def _assign(self, _subject: str, data: bytes) -> AssignAnswer:
        return self._attempts.accept(decode(Assignment, data))

    async def _cancel(self, _subject: str, data: bytes) -> Done:
        return self._attempts.cancel(decode(CancelAttempt, data))

    async def _renew(self, _subject: str, data: bytes) -> Done:
        return self._attempts.renew(decode(Renew, data))

    async def _on_drain(self, _subject: str, _data: bytes) -> Done:
        self._start_draining()
        self._leave.set()
        return Done(in_flight=self._attempts.in_flight)
