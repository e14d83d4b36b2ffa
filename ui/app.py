"""The web application: pages, static files, REST and the socket, behind the access rules."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import Scope

from outrider.broker.errors import OutriderError
from outrider.ui.access import COOKIE, Access, session_of
from outrider.ui.api_estimate import estimate_routes
from outrider.ui.api_fleet import fleet_routes
from outrider.ui.api_operator import operator_routes
from outrider.ui.api_tasks import task_routes
from outrider.ui.api_values import value_routes
from outrider.ui.bridge import Bridge
from outrider.ui.problems import problem, problem_of
from outrider.ui.viewer import Viewer

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
MOST_FORM_BYTES = 4096
FRESH = {"Cache-Control": "no-cache"}


class FreshStaticFiles(StaticFiles):
    """Files that a browser keeps but asks about each time, so that an upgrade is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(FRESH)
        return response


def build_app(bridge: Bridge) -> Access:
    """Everything a browser or a script can reach."""
    app = FastAPI(
        title="Outrider",
        version=bridge.version,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # FastAPI's page loads its assets from a CDN
        redoc_url=None,
    )
    app.include_router(task_routes(bridge))
    app.include_router(value_routes(bridge))
    app.include_router(estimate_routes(bridge))
    app.include_router(fleet_routes(bridge))
    app.include_router(operator_routes(bridge))
    _add_pages(app)
    _add_sign_in(app, bridge)
    _add_socket(app, bridge)
    _add_errors(app)
    return Access(app, bridge.settings)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def portal() -> FileResponse:
        return FileResponse(STATIC / "client.html", headers=FRESH)

    @app.get("/admin", include_in_schema=False)
    async def dashboard() -> FileResponse:
        return FileResponse(STATIC / "dashboard.html", headers=FRESH)

    app.mount("/static", FreshStaticFiles(directory=STATIC))


def _add_sign_in(app: FastAPI, bridge: Bridge) -> None:
    token = bridge.settings.token

    @app.get("/login", include_in_schema=False)
    async def form() -> Response:
        if token is None:
            return RedirectResponse("/", 303)
        return FileResponse(STATIC / "login.html", headers=FRESH)

    @app.post("/login", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        given = await _form_field(request, "token")
        if token is None or not hmac.compare_digest(given.encode(), token.encode()):
            return FileResponse(STATIC / "login-again.html", 403, headers=FRESH)
        response = RedirectResponse("/", 303)
        is_secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict", secure=is_secure)
        return response


async def _form_field(request: Request, name: str) -> str:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_FORM_BYTES:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get(name, [""])[0]


def _add_socket(app: FastAPI, bridge: Bridge) -> None:
    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await Viewer(websocket, bridge.hub, bridge.watches, bridge.clock, bridge.about()).serve()


def _add_errors(app: FastAPI) -> None:
    async def named(_: Request, error: Exception) -> Response:
        return problem_of(error) if isinstance(error, OutriderError) else await unexpected(_, error)

    async def invalid(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        where = ".".join(str(part) for part in first.get("loc", ())[1:])
        return problem(400, "malformed", f"{where}: {first.get('msg', 'not valid')}")

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = {404: "not_found", 405: "method_not_allowed"}.get(status, "error")
        what = f"there is no {request.method} here" if status == 405 else "there is nothing at this address"
        return problem(status, code, what, "/api/v1/openapi.json lists them")

    async def unexpected(_: Request, error: Exception) -> Response:
        log.error("a request failed", exc_info=error)
        return problem(500, "error", "internal error", "the bridge's log tells more")

    app.add_exception_handler(OutriderError, named)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
