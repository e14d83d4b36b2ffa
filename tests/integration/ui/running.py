"""A bridge that runs inside the test, with what talks to it: REST and a viewer on the socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from outrider.broker.config import NatsSettings
from outrider.ui import serve


class RunningBridge:
    """`serve` on a free port; `address` is what `on_ready` was given."""

    def __init__(self, settings: NatsSettings, fleet: str) -> None:
        self._settings = settings
        self._fleet = fleet
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.address = ""
        self.http = httpx2.AsyncClient()

    @property
    def host(self) -> str:
        return self.address.removeprefix("http://")

    async def __aenter__(self) -> Self:
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._serving = asyncio.create_task(
            serve(self._settings, self._fleet, "127.0.0.1", 0, self._stop, ready.set_result)
        )
        waited: list[asyncio.Future[Any]] = [self._serving, ready]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            self._serving.result()
        part, self.address = ready.result().split(" ")
        assert part == "ui"
        self.http = httpx2.AsyncClient(base_url=self.address, timeout=10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self.http.aclose()
        if self._serving is not None:
            await asyncio.wait_for(self._serving, 15)

    @contextlib.asynccontextmanager
    async def viewer(self, **options: Any) -> AsyncIterator[Viewer]:
        origin = options.pop("origin", self.address)
        url = self.address.replace("http", "ws") + "/ws"
        async with connect(url, origin=origin, **options) as socket:
            yield Viewer(socket)


class Viewer:
    """One socket, read until what is waited for comes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.rows: dict[str, dict[str, Any]] = {}
        self.last: dict[str, Any] = {}

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 10))
        self._keep(message)
        return message

    async def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first message that fits."""
        async with asyncio.timeout(15):
            while True:
                message = await self.hear()
                if wanted(message):
                    return message

    async def op(self, name: str) -> dict[str, Any]:
        return await self.until(lambda message: message["op"] == name)

    def _keep(self, message: dict[str, Any]) -> None:
        topic = message.get("topic", "")
        if message["op"] == "snapshot" and "rows" in message:
            self.rows[topic] = message["rows"]
        elif message["op"] == "delta" and "set" in message:
            assert message["from"] == self.last[topic]
            rows = self.rows[topic] | message["set"]
            self.rows[topic] = {k: v for k, v in rows.items() if k not in message["del"]}
        if topic and "seq" in message:
            self.last[topic] = message["seq"]
