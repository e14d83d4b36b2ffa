"""The agent's pulse: a thread with its own connection and loop, so that no handler can silence it.

Sends heartbeats and answers `ping`; what they say is read from the agent by one thread-safe call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from outrider.broker.codec import decode, encode, sniff
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, OutriderError
from outrider.broker.messages import Heartbeat, Ping
from outrider.broker.subjects import Subjects

log = logging.getLogger(__name__)

CONNECT_PAUSE_S = 1.0


class Pulse:
    """Beats from `start` until `stop`. `status` is called in the pulse's thread."""

    def __init__(
        self,
        settings: NatsSettings,
        subjects: Subjects,
        agent_id: str,
        every_s: float,
        status: Callable[[], Heartbeat],
    ) -> None:
        self._settings = settings
        self._agent_id = agent_id
        self._beat_subject = subjects.agent(agent_id, "heartbeat")
        self._ping_subject = subjects.agent(agent_id, "ping")
        self._every_s = every_s
        self._status = status
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._beat = asyncio.Event()
        self._stopping = False
        self._connection: Connection | None = None
        self._started = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"pulse {agent_id}", daemon=True)
        self.ended: asyncio.Future[None] = self._home.create_future()
        """Done when the thread ends; holds the error if it died."""

    async def start(self) -> None:
        """Beat for the first time; returns when `ping` is answered."""
        self._thread.start()
        self.ended.add_done_callback(lambda _: self._started.set())
        await self._started.wait()

    def beat(self) -> None:
        """Send a heartbeat now, because something changed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._beat.set)

    async def stop(self) -> None:
        """Send a last heartbeat and end."""
        self._stopping = True
        self.beat()
        await asyncio.wait({self.ended}, timeout=3)

    def _run(self) -> None:
        problem: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to the agent, which stops
            problem = error
        with contextlib.suppress(RuntimeError):
            self._home.call_soon_threadsafe(self._end, problem)

    def _end(self, problem: BaseException | None) -> None:
        if self.ended.done():
            return
        if problem is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(OutriderError(f"the heartbeat ended: {problem}"))

    async def _main(self) -> None:
        connection = await self._connect()
        if connection is None:
            return
        async with connection:
            self._connection = connection
            connection.on_link(lambda is_up: self._beat.set() if is_up else None)
            await connection.subscribe(self._ping_subject, self._answer_ping)
            await self._send()
            await connection.settle()
            self._home.call_soon_threadsafe(self._started.set)
            while not self._stopping:
                await self._wait()
                await self._send()

    async def _connect(self) -> Connection | None:
        """The connection; the agent's own link is up, so a failure here passes."""
        while not self._stopping:
            try:
                return await Connection.open(self._settings, f"agent {self._agent_id} heartbeat")
            except NatsUnavailable as error:
                log.warning("no heartbeat yet: %s", error)
                await asyncio.sleep(CONNECT_PAUSE_S)
        return None

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._beat.wait(), self._every_s)
        self._beat.clear()

    async def _send(self) -> None:
        if self._connection is not None and self._connection.is_connected:
            await self._connection.publish(self._beat_subject, encode(self._status()))

    async def _answer_ping(self, message: Any) -> None:
        status = self._status()
        if self._connection is not None and message.reply and _is_for(status.instance, message.data):
            await self._connection.publish(message.reply, encode(status, sniff(message.data)))


def _is_for(instance: str, data: bytes) -> bool:
    """Whether a ping asks for this run of the agent, or for any."""
    try:
        return decode(Ping, data).instance in ("", instance)
    except OutriderError:
        return True  # an empty body or another one that says nothing of a run
