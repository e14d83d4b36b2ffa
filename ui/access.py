"""Who may come in: the host name, the origin and the token of every request, and the headers of every answer.

Pure ASGI, in front of everything else, so that no route can forget it. Knows nothing of tasks.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response

from outrider.ui.config import LOOPBACK, UiSettings
from outrider.ui.problems import problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "outrider_session"
OPEN_PATHS = ("/healthz", "/login", "/static/")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer browsers send a form's Origin as null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def session_of(token: str) -> str:
    """What the cookie of a signed-in browser holds: proof of the token, not the token."""
    return hmac.new(token.encode(), b"outrider pages", hashlib.sha256).hexdigest()


class Access:
    """Lets a request through, or answers it."""

    def __init__(self, app: App, settings: UiSettings) -> None:
        self._app = app
        self._token = settings.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4403, "reason": "refused"})
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._token is None and _name_of(host) not in LOOPBACK:
            # Without a token a foreign host name can only mean that its owner pointed it at this machine.
            hint = "open http://127.0.0.1, or set OUTRIDER_UI_TOKEN to serve other names"
            return problem(403, "host_not_allowed", f"host {host[:80]!r} is not served here", hint)
        is_socket = scope["type"] == "websocket"
        is_safe = not is_socket and scope["method"] in SAFE_METHODS
        if not is_safe and not _same_origin(headers, host, is_socket):
            return problem(403, "origin_not_allowed", "the request comes from another site's page")
        if self._token is None or scope["path"].startswith(OPEN_PATHS) or self._knows_token(headers):
            return None
        if is_safe and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        hint = "send Authorization: Bearer TOKEN, or sign in at /login"
        return problem(401, "unauthorized", "this address asks for the token", hint)

    def _knows_token(self, headers: Headers) -> bool:
        token = self._token or ""
        given = headers.get("authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return True
        return hmac.compare_digest(_cookie(headers).encode(), session_of(token).encode())


def _same_origin(headers: Headers, host: str, is_socket: bool) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return not is_socket and "cookie" not in headers
    return urlsplit(origin).netloc.lower() == host.lower()


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
