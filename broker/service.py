"""What every service shares: request endpoints that `nats micro` can see, and a run that ends loudly.

Knows how to answer, not what: handlers take a subject and a decoded body and return a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from nats import errors as nats_errors
from nats.micro import add_service
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER, Request
from nats.micro.service import EndpointConfig, ServiceConfig
from nats.micro.service import Service as MicroService

from outrider.broker.codec import Format, dump, encode, sniff
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, OutriderError, PayloadTooLarge

log = logging.getLogger(__name__)

Handler = Callable[[str, bytes], Awaitable[Any]]
"""Given a subject and a body, returns a message or a plain map; may raise OutriderError."""

HTTP_LIKE = {
    "not_found": "404",
    "agent_not_found": "404",
    "unknown_kind": "404",
    "object_missing": "404",
    "payload_too_large": "413",
    "queue_full": "429",
    "idempotency_conflict": "409",
    "refused": "409",
    "nats_unavailable": "503",
    "nobody_answers": "503",
}
START_ENDS_WITHIN_S = 1.0
MOST_AT_ONCE = 256


class Endpoints:
    """The request endpoints of one service; answers come in the format of the request."""

    def __init__(self, connection: Connection, name: str, version: str, description: str) -> None:
        self._connection = connection
        self._config = ServiceConfig(name=name, version=version, description=description)
        self._service: MicroService | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def start(self) -> None:
        """Make the service known. Raises NatsUnavailable when the server goes away meanwhile."""
        try:
            self._service = await add_service(self._connection.client, self._config)
        except (nats_errors.Error, TimeoutError, OSError) as error:
            raise NatsUnavailable(f"NATS went away while {self._config.name} started: {error}") from None

    async def add(
        self, name: str, subject: str, handler: Handler, *, queue: str | None = None, inline: bool = False
    ) -> None:
        """Serve `subject`. `inline` handlers run in the read loop, one at a time, and must not wait."""
        if self._service is None:
            raise OutriderError("start the endpoints before adding one")

        async def serve(request: Request) -> None:
            if inline:
                await self._answer(request, handler)
                return
            await self._room.acquire()
            task = asyncio.create_task(self._answer_and_leave(request, handler))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        if inline:
            self._connection.client.direct_subjects.add(subject)
        config = EndpointConfig(name=name, subject=subject, handler=serve, queue_group=queue)
        await self._service.add_endpoint(config)

    async def _answer_and_leave(self, request: Request, handler: Handler) -> None:
        try:
            await self._answer(request, handler)
        finally:
            self._room.release()

    async def _answer(self, request: Request, handler: Handler) -> None:
        fmt = sniff(request.data)
        try:
            body = await handler(request.subject, request.data)
            data = dump(body, fmt) if isinstance(body, dict) else encode(body, fmt)
            if len(data) > self._connection.max_payload:
                raise PayloadTooLarge(f"the answer of {len(data)} bytes is over the server's limit")
            await self._respond(request, data)
        except OutriderError as error:
            await self._respond_error(request, error, fmt)
        except Exception:
            log.exception("request to %s failed", request.subject)
            unknown = OutriderError("internal error; the service's log tells more")
            await self._respond_error(request, unknown, fmt)

    async def _respond(self, request: Request, data: bytes, headers: dict[str, str] | None = None) -> None:
        if _wants_answer(request):
            with contextlib.suppress(NatsUnavailable):
                await self._connection.publish(request._msg.reply, data, headers=headers)

    async def _respond_error(self, request: Request, error: OutriderError, fmt: Format) -> None:
        headers = {
            ERROR_HEADER: _one_line(error.message),
            ERROR_CODE_HEADER: HTTP_LIKE.get(error.code, "400"),
        }
        with contextlib.suppress(OutriderError):
            await self._respond(request, dump(error.to_wire(), fmt), headers)

    async def stop(self) -> None:
        """Stop answering and finish what is being answered."""
        if self._service is not None and self._connection.is_connected:
            with contextlib.suppress(Exception):
                await self._service.stop()
        if self._running:
            await asyncio.wait(self._running, timeout=2)


def _one_line(text: str) -> str:
    """What a header can carry: whatever was typed by somebody may stand in a message."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:200])


def _wants_answer(request: Request) -> bool:
    """Whether somebody waits. A reply subject of the fleet or the server would be a message to one of us."""
    reply: str = request._msg.reply
    first, fleet = reply.partition(".")[0], request.subject.partition(".")[0]
    if first.startswith("$") or first == fleet:
        log.warning("request to %s is not answered: %s is no inbox", request.subject, reply)
        return False
    return bool(reply)


async def run_until_signal(
    main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], is_ready: Callable[[], bool] = lambda: True
) -> None:
    """Run `main(stop)`; SIGINT and SIGTERM set `stop` once, and a second one cancels.

    What is not ready yet may be deep in its start and not look at `stop`: it is cancelled soon after.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main(stop))

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
        elif not is_ready():
            loop.call_later(START_ENDS_WITHIN_S, end_start)
        stop.set()

    def end_start() -> None:
        # More than once: nats-py may swallow a cancellation.
        if not task.done() and not is_ready():
            task.cancel()
            loop.call_later(START_ENDS_WITHIN_S, end_start)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        await task
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
