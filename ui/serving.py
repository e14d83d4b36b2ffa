"""Runs the bridge: takes the port, serves until told to stop, ends loudly when a part of it dies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import version

import uvicorn

from outrider.broker.background import Background
from outrider.broker.clock import SystemClock
from outrider.broker.config import NatsSettings
from outrider.broker.errors import OutriderError, PortTaken
from outrider.ui.app import build_app
from outrider.ui.bridge import build_bridge, open_client
from outrider.ui.config import UiSettings

LARGEST_ORDER = 64 * 1024
STOP_WITHIN_S = 2


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: who runs us decides when to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def take_port(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTaken, or OutriderError when the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(128)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} on {host} is in use by another program") from None
        raise OutriderError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    taken.setblocking(False)
    return taken


async def serve_bridge(
    settings: NatsSettings,
    fleet: str,
    ui: UiSettings,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until `stop` is set. Raises PortTaken, NatsUnavailable or WrongCredentials at the start."""
    clock = SystemClock()
    with take_port(ui.host, ui.port) as listening:
        async with open_client(settings, fleet, clock) as client:
            bridge = build_bridge(client, clock, ui, version("outrider"))
            server = _Server(_options(build_app(bridge)))
            async with Background() as background:
                for part in bridge.parts():
                    background.spawn(part)
                serving = background.spawn(server.serve([listening]))
                await _first_of(server.is_up, serving)
                on_ready(f"ui {_address(ui.host, listening)}")
                await _first_of(stop, serving)
                server.should_exit = True
                await serving
                bridge.stop()
                await background.end()


def _options(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="websockets-sansio",
        # One text is encoded for all viewers; compressing it again for each costs a third of a core.
        ws_per_message_deflate=False,
        ws_max_size=LARGEST_ORDER,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )


async def _first_of(event: asyncio.Event, serving: asyncio.Task[None]) -> None:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waiting, serving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _address(host: str, listening: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"
