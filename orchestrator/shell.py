"""The thin shell: one inbox, one loop, event -> core -> effects; all waiting and sending happens here."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from outrider.broker.background import Background
from outrider.broker.clock import Clock, SystemClock
from outrider.broker.codec import encode
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, OutriderError
from outrider.broker.follower import Stored
from outrider.broker.messages import Pulse
from outrider.broker.pipeline import Pulled
from outrider.broker.service import Endpoints
from outrider.broker.stream_limits import StreamLimits
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.ledger.archive import Archive
from outrider.orchestrator import events
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.core import Core
from outrider.orchestrator.effects import Effects, Wires
from outrider.orchestrator.feed import LedgerFeed
from outrider.orchestrator.inbox import Door, is_unheard
from outrider.orchestrator.ledger_room import LedgerRoom
from outrider.orchestrator.limit_store import LimitStore
from outrider.orchestrator.queue import HOLD_EVERY_S, TaskQueue, hold_all
from outrider.orchestrator.requests import Requests
from outrider.orchestrator.snapshots import keep_snapshots

log = logging.getLogger(__name__)

TICK_S = 0.05
BUSY_EVENTS = 32
"""From so many at once the loop lets more gather: larger rounds cost less a task."""
GATHER_S = 0.002
MOST_IN_INBOX = 20_000
MOST_MET = 1_000
"""Other orchestrators that are remembered; one beyond it is greeted again."""
VERSION = "0.1.0"


class Shell:
    """One orchestrator on one connection."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        thresholds: Thresholds,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.orchestrator_id = f"o-{uuid.uuid4().hex[:12]}"
        self._connection = connection
        self._subjects = subjects
        self._thresholds = thresholds
        self._clock = clock
        self._spawn = spawn
        self._door = Door(clock)
        self._inbox: deque[events.Event] = deque()
        self._wake = asyncio.Event()
        self._has_room = asyncio.Event()
        self.core = Core(self.orchestrator_id, thresholds)
        wires = Wires(clock, self.post, spawn, self._task_ended)
        self._effects = Effects(connection, subjects, self.orchestrator_id, thresholds, wires)
        self._requests = Requests(connection, subjects, self.core, self._effects, clock, self.post)
        self._queue = TaskQueue(connection, subjects, self.core.window, self._pulled)
        watch_s = thresholds.owner_silent_s
        self._feed = LedgerFeed(
            connection,
            subjects,
            self.orchestrator_id,
            watch_s,
            self._replayed,
            self._stored,
            restore=Archive(connection, subjects).newest,
        )
        self._limits = LimitStore(connection, subjects, self.core, self._effects.appender, clock, self.post)
        self._endpoints = Endpoints(connection, "outrider-orchestrator", VERSION, "assigns tasks to agents")
        self._known_kinds: set[str] = set()
        self._met: dict[str, None] = {}
        self._room = LedgerRoom(connection, subjects.ledger_stream, thresholds.ledger_check_s, self.post)

    def post(self, event: events.Event) -> None:
        """Put an event into the inbox; the loop folds it in order."""
        self._inbox.append(event)
        self._wake.set()

    async def start(self, bounds: StreamLimits) -> None:
        """Recover from the ledger, then begin to serve. Raises StreamDrift or NatsUnavailable."""
        await ensure_streams(self._connection, self._subjects, bounds)
        s, subscribe = self._subjects, self._connection.subscribe_directly
        await self._effects.appender.start()
        await subscribe(self._effects.assign_inbox + ".*.*", self._assign_answered)
        await subscribe(self._effects.route_inbox + ".*", self._effects.routed)
        await subscribe(self._effects.ping_inbox + ".*", self._ping_answered)
        await subscribe(s.all_heartbeats, self._heartbeat)
        await subscribe(s.all_pulses, self._pulse)
        # Before anything is read: whoever writes after that has heard it, and answers with its own.
        await self._send_pulse(stopping=False)
        await subscribe(s.all_chunks, self._chunk)
        self._connection.on_link(self._link_changed)
        self._spawn(_ends_when_closed(self._connection))
        self._spawn(self._loop())
        self._spawn(self._tick())
        self._spawn(self._effects.appender.run())
        self._spawn(self._limits.run())
        # Limits first: what the ledger tells counts against them.
        await self._limits.caught_up.wait()
        self._spawn(self._feed.run())
        await self._feed.caught_up.wait()
        await self._room.look()
        self.post(events.Recovered(self._feed.seq))
        self._spawn(self._room.run())
        self._spawn(self._pulse_forever())
        self._spawn(self._hold_forever())
        self._spawn(
            keep_snapshots(self._connection, s, self._thresholds.snapshot_every, lambda: self._feed.seq)
        )
        self._spawn(self._requests.due.run(self._spawn))
        limits = self._thresholds
        self._spawn(self._requests.sweep.run(limits.sweep_every_s, limits.sweep_per_s))
        await self._endpoints.start()
        await self._requests.add_to(self._endpoints)
        await self._limits.add_to(self._endpoints)
        await self._connection.settle()

    async def _loop(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            is_busy = len(self._inbox) >= BUSY_EVENTS
            await self._drain_inbox()
            # First let what was published go out, then think of the next pull.
            self._connection.write_now()
            self._has_room.set()
            if self.core.memory.agents.declared - self._known_kinds:
                self._spawn(self._serve_new_kinds())
            await asyncio.sleep(GATHER_S if is_busy else 0)
            if self._connection.is_connected:
                await self._queue.top_up()

    async def _drain_inbox(self) -> None:
        for _ in range(len(self._inbox)):
            event = self._inbox.popleft()
            for instruction in self.core.handle(event, self._clock.now()):
                await self._try(instruction)
        if self._inbox:
            self._wake.set()

    async def _try(self, instruction: Any) -> None:
        try:
            await self._effects.carry_out(instruction)
        except NatsUnavailable as error:
            # Timers and the story's next reading repair what could not be sent.
            log.warning("%s is not sent: %s", type(instruction).__name__, error.message)

    async def _serve_new_kinds(self) -> None:
        for kind in self.core.memory.agents.declared - self._known_kinds:
            self._known_kinds.add(kind)
            self._requests.kind_declared(kind)
            await self._queue.serve(kind)
        self._wake.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.post(events.Ticked())

    async def _pulse_forever(self) -> None:
        while True:
            await self._send_pulse(stopping=False)
            for kind in tuple(self._known_kinds):
                await self._queue.serve(kind)
            await asyncio.sleep(self._thresholds.pulse_every_s)

    async def _send_pulse(self, *, stopping: bool) -> None:
        body = encode(Pulse(self.orchestrator_id, len(self.core.memory.tasks), stopping))
        try:
            await self._connection.publish(self._subjects.pulse(self.orchestrator_id), body)
        except OutriderError as error:
            log.warning("pulse not sent: %s", error.message)

    async def _hold_forever(self) -> None:
        while True:
            await asyncio.sleep(HOLD_EVERY_S)
            if self._connection.is_connected:
                await hold_all(self._connection, list(self._effects.queued.values()))

    async def _pulled(self, pulled: Pulled) -> None:
        event, envelope = self._door.pulled(pulled)
        if isinstance(event, events.TaskPulled | events.TaskUnreadable):
            # A redelivery brings a new address for the ack.
            self._effects.queued[event.task_id] = pulled
            if envelope is not None:
                self._effects.envelopes.setdefault(event.task_id, envelope)
        self.post(event)

    async def _stored(self, stored: Stored) -> None:
        event = self._door.entry(stored)
        if event is not None:
            self.post(event)

    async def _replayed(self, stored: Stored) -> None:
        """As `_stored`, no faster than the core folds."""
        await self._stored(stored)
        while len(self._inbox) > MOST_IN_INBOX:
            self._has_room.clear()
            await self._has_room.wait()

    async def _assign_answered(self, message: Any) -> None:
        self.post(self._door.assign_answer(message))

    async def _ping_answered(self, message: Any) -> None:
        agent_id = message.subject.rpartition(".")[2]
        if is_unheard(message):
            self.post(events.AgentUnreachable(agent_id))
        else:
            await self._beat(self._subjects.agent(agent_id, "heartbeat"), message.data)

    async def _heartbeat(self, message: Any) -> None:
        await self._beat(message.subject, message.data)

    async def _beat(self, subject: str, data: bytes) -> None:
        event = self._door.heartbeat(subject, data)
        if event is not None:
            self.post(event)

    async def _pulse(self, message: Any) -> None:
        event = self._door.pulse(message.data)
        if event is None or event.orchestrator_id == self.orchestrator_id:
            return
        if not event.stopping:
            await self._greet(event.orchestrator_id)
        self._feed.not_alone()
        self.post(event)

    async def _greet(self, orchestrator_id: str) -> None:
        """Pulse at once for one that is new: it must not think itself alone until our next pulse."""
        if orchestrator_id in self._met:
            return
        self._met[orchestrator_id] = None
        if len(self._met) > MOST_MET:
            del self._met[next(iter(self._met))]
        await self._send_pulse(stopping=False)

    async def _chunk(self, message: Any) -> None:
        # Signs of progress may be lost, and another comes soon: they alone must not fill the inbox.
        if len(self._inbox) > MOST_IN_INBOX:
            return
        self.post(self._door.chunk(message.subject))

    def _link_changed(self, is_up: bool) -> None:
        self.post(events.LinkChanged(is_up))
        if is_up:
            self._queue.reconnected()
            self._requests.due.reconnected()

    def _task_ended(self, task_id: str, _: str) -> None:
        self._requests.task_ended(task_id)

    async def stop(self) -> None:
        """Leave in good order: others may take over at once."""
        await self._send_pulse(stopping=True)
        await self._endpoints.stop()


async def serve(
    settings: NatsSettings,
    fleet: str,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    thresholds: Thresholds | None = None,
    clock: Clock | None = None,
    *,
    bounds: StreamLimits | None = None,
) -> None:
    """Run one orchestrator until `stop`; streams that lack are made with `bounds`.

    Raises NatsUnavailable, WrongCredentials or StreamDrift at the start; a part that dies ends it all.
    """
    async with await Connection.open(settings, "orchestrator") as connection, Background() as background:
        limits = thresholds or Thresholds()
        shell = Shell(connection, Subjects(fleet), limits, clock or SystemClock(), background.spawn)
        await shell.start(bounds or StreamLimits())
        on_ready(f"orchestrator {shell.orchestrator_id}")
        await stop.wait()
        await shell.stop()
        await background.end()


async def _ends_when_closed(connection: Connection) -> None:
    await connection.closed.wait()
    raise NatsUnavailable("the connection to NATS is closed for good")
