"""One connection to NATS that comes back by itself, with NATS's errors in Outrider's words.

Knows no subject and no message of Outrider.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, Self

import nats
from nats import errors as nats_errors
from nats.aio.subscription import Subscription

from outrider.broker.config import NatsSettings
from outrider.broker.errors import (
    NatsUnavailable,
    NobodyAnswers,
    NotPermitted,
    OutriderError,
    PayloadTooLarge,
    TimedOut,
    WrongCredentials,
)
from outrider.broker.quick_client import QuickClient

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2
PING_INTERVAL_S = 2
PINGS_OUTSTANDING = 2
TCP_USER_TIMEOUT_MS = 3000
NO_LEADER = 10008
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)


class Message(Protocol):
    """What a callback is given."""

    subject: str
    reply: str
    data: bytes

    @property
    def headers(self) -> dict[str, str] | None: ...


OnMessage = Callable[[Any], Awaitable[None]]
OnLink = Callable[[bool], None]


class ApiError(OutriderError):
    """JetStream refused a request."""

    code = "jetstream_refused"

    def __init__(self, description: str, err_code: int = 0, *, hint: str = "") -> None:
        """Without a code it comes over the wire, and its description names the code."""
        super().__init__(
            f"{description} (JetStream error {err_code})" if err_code else description, hint=hint
        )
        self.err_code = err_code


class Connection:
    """Publish, request and subscribe on one connection. Open it with `Connection.open`."""

    def __init__(self, settings: NatsSettings) -> None:
        self.settings = settings
        self.client = QuickClient()
        self.closed = asyncio.Event()
        self._closing = False
        self._last_error: Exception | None = None
        self._link_listeners: list[OnLink] = []
        self._problem_listeners: list[Callable[[OutriderError], None]] = []

    @classmethod
    async def open(cls, settings: NatsSettings, name: str) -> Self:
        """Connect once or fail; afterwards reconnect for ever.

        Raises NatsUnavailable or WrongCredentials with the address in the message.
        """
        self = cls(settings)
        try:
            await self._connect(name)
        except ssl.SSLError as error:
            raise NatsUnavailable(f"TLS with {settings.url} failed: {error}") from None
        except nats_errors.NoServersError as error:
            raise self._explain(self._last_error or error) from None
        except (nats_errors.Error, OSError, TimeoutError, ValueError) as error:
            raise self._explain(error) from None
        self.client.options["allow_reconnect"] = True
        self.client.options["max_reconnect_attempts"] = -1
        self._guard_socket()
        return self

    async def _connect(self, name: str) -> None:
        try:
            await self.client.connect(**self._options(name))
        except BaseException:
            # nats-py leaves the socket of a refused attempt open.
            transport = getattr(self.client, "_transport", None)
            if transport is not None and getattr(transport, "_io_writer", None) is not None:
                transport.close()
            raise

    def _options(self, name: str) -> dict[str, Any]:
        s = self.settings
        options: dict[str, Any] = {
            "servers": s.servers,
            "name": name,
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,  # for nats-py 0 means without end
            "connect_timeout": CONNECT_TIMEOUT_S,
            # nats-py draws no jitter: a fleet that lost its server must not return in step.
            "reconnect_time_wait": random.uniform(0.1, 0.5),
            "ping_interval": PING_INTERVAL_S,
            "max_outstanding_pings": PINGS_OUTSTANDING,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_down,
            "reconnected_cb": self._on_up,
            "closed_cb": self._on_closed,
            "skip_subject_validation": True,
            "pending_size": 16 * 1024 * 1024,
        }
        credentials = {
            "user_credentials": s.creds,
            "user": s.user,
            "password": s.password,
            "token": s.token,
            "nkeys_seed": s.nkey,
            "inbox_prefix": s.inbox_prefix,
        }
        options |= {key: value for key, value in credentials.items() if value}
        if s.ca or s.cert:
            options["tls"] = _tls(s)
        return options

    def _explain(self, error: Exception) -> OutriderError:
        where = f"{self.settings.url} (from {self.settings.source})"
        text = str(error).lower()
        if isinstance(error, nats_errors.AuthorizationError) or "authorization" in text:
            return WrongCredentials(f"NATS at {where} refused the credentials")
        if isinstance(error, (ValueError, FileNotFoundError)):
            return NatsUnavailable(f"cannot connect to NATS at {where}: {error}")
        if isinstance(error, TimeoutError) and not str(error):
            return NatsUnavailable(f"NATS cannot be reached at {where}: no answer in {CONNECT_TIMEOUT_S:g} s")
        return NatsUnavailable(f"NATS cannot be reached at {where}: {str(error) or type(error).__name__}")

    def _guard_socket(self) -> None:
        # Without it unsent data to a dead peer blocks the reconnect for some 15 minutes (nats.py#671).
        transport = getattr(self.client, "_transport", None)
        writer = getattr(transport, "_io_writer", None)
        raw = writer.get_extra_info("socket") if writer is not None else None
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)

    def on_link(self, listener: OnLink) -> None:
        """Call `listener(False)` when the link is lost and `listener(True)` when it is back."""
        self._link_listeners.append(listener)

    def off_link(self, listener: OnLink) -> None:
        """Stop calling this listener."""
        if listener in self._link_listeners:
            self._link_listeners.remove(listener)

    def on_problem(self, listener: Callable[[OutriderError], None]) -> None:
        """Call `listener` with what the server refuses outside any request, such as a permission."""
        self._problem_listeners.append(listener)

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        if isinstance(error, ConnectionRefusedError) or not self.client.is_connected:
            return
        text = str(error)
        if "permissions violation" in text.lower():
            problem: OutriderError = NotPermitted(f"NATS refused: {text}")
        else:
            problem = OutriderError(f"NATS reported: {text}")
        log.warning("%s", problem)
        for listener in self._problem_listeners:
            listener(problem)

    async def _on_down(self) -> None:
        if self._closing:
            return
        log.warning("lost the connection to NATS at %s, reconnecting", self.settings.url)
        self._tell(False)

    async def _on_up(self) -> None:
        log.info("connected to NATS at %s again", self.settings.url)
        self._guard_socket()
        self._tell(True)

    async def _on_closed(self) -> None:
        self.closed.set()

    def _tell(self, is_up: bool) -> None:
        for listener in list(self._link_listeners):
            listener(is_up)

    @property
    def is_connected(self) -> bool:
        return bool(self.client.is_connected)

    @property
    def max_payload(self) -> int:
        return int(self.client.max_payload)

    def new_inbox(self) -> str:
        return self.client.new_inbox()

    async def publish(
        self, subject: str, data: bytes = b"", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send and forget. Raises PayloadTooLarge, or NatsUnavailable when even the buffer is full."""
        if self.client.publish_now(subject, reply, data, headers):
            return
        try:
            await self.client.publish(subject, data, reply, dict(headers) if headers else None)
        except nats_errors.MaxPayloadError:
            raise PayloadTooLarge(
                f"{len(data)} bytes are over the server's limit {self.max_payload}"
            ) from None
        except (nats_errors.OutboundBufferLimitError, nats_errors.ConnectionClosedError, OSError) as error:
            raise NatsUnavailable(f"message to {subject} cannot be sent: {error}") from None

    def write_now(self) -> None:
        """Let what was published go out before anything else is done."""
        self.client.write_now()

    def gather(self, for_s: float) -> None:
        """Read what comes in at most every `for_s` seconds, unless there is much: who is in no hurry wakes
        less often, and takes no processor from what is."""
        self.client.linger_s = for_s

    async def request(self, subject: str, data: bytes = b"", timeout_s: float = 2.0) -> Any:
        """The one answer to a request. Raises NobodyAnswers, TimedOut, PayloadTooLarge or NatsUnavailable."""
        try:
            return await self.client.request(subject, data, timeout=timeout_s)
        except nats_errors.NoRespondersError:
            raise NobodyAnswers(f"nobody answers {subject}") from None
        except (TimeoutError, nats_errors.TimeoutError):
            raise TimedOut(f"no answer from {subject} within {timeout_s:g} s") from None
        except nats_errors.MaxPayloadError:
            raise PayloadTooLarge(
                f"{len(data)} bytes are over the server's limit {self.max_payload}"
            ) from None
        except (nats_errors.Error, OSError) as error:
            raise NatsUnavailable(f"request to {subject} failed: {error}") from None

    async def subscribe_directly(self, subject: str, callback: OnMessage) -> Subscription:
        """As `subscribe`, without a queue between: `callback` must not wait for what comes from NATS."""
        return await self.client.subscribe_directly(subject, callback)

    async def subscribe(self, subject: str, callback: OnMessage, queue: str = "") -> Subscription:
        """Call back for each message, one at a time; the caller bounds what it keeps."""
        return await self.client.subscribe(
            subject, queue=queue, cb=callback, pending_msgs_limit=0, pending_bytes_limit=0
        )

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Hear nothing more of it, also after a reconnect; never raises."""
        with contextlib.suppress(nats_errors.Error, OSError):
            await subscription.unsubscribe()

    async def settle(self) -> None:
        """Wait until the server knows all subscriptions made so far."""
        # Twice: nats-py may write the first PING before a SUB that still waits in its buffer.
        try:
            await self.client.flush(timeout=5)
            await self.client.flush(timeout=5)
        except (nats_errors.Error, TimeoutError, OSError) as error:
            raise NatsUnavailable(f"NATS does not answer: {error}") from None

    async def api(
        self, what: str, body: Mapping[str, Any] | None = None, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        """One JetStream API call, `$JS.API.<what>`. Raises ApiError, NatsUnavailable or TimedOut."""
        data = json.dumps(body).encode() if body else b""
        try:
            message = await self.request(f"$JS.API.{what}", data, timeout_s)
        except NobodyAnswers:
            raise NatsUnavailable(
                f"NATS at {self.settings.url} has no JetStream for this account",
                hint="start nats-server with JetStream: nats-server -js",
            ) from None
        answer: dict[str, Any] = json.loads(message.data)
        if "error" in answer:
            error = answer["error"]
            text, err_code = str(error.get("description", "refused")), int(error.get("err_code", 0))
            if err_code == NO_LEADER:
                raise NatsUnavailable(f"the cluster of {self.settings.url} elects a leader: {text}")
            raise ApiError(text, err_code)
        return answer

    async def close(self) -> None:
        """Send what is buffered and close; never raises."""
        self._closing = True
        with contextlib.suppress(nats_errors.Error, OSError, TimeoutError):
            if self.client.is_connected:
                await self.client.flush(timeout=1)
        with contextlib.suppress(nats_errors.Error, OSError, TimeoutError):
            await self.client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _tls(settings: NatsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca)
    if settings.cert:
        context.load_cert_chain(settings.cert, settings.key)
    return context


def server_version() -> str:
    """Version of the NATS client library, for `outrider version`."""
    return nats.__version__ if hasattr(nats, "__version__") else "unknown"
