"""The bridge between browsers and the fleet, and its two pages. Sees the system only as a client does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from outrider.broker.config import NatsSettings
from outrider.broker.errors import MissingExtra
from outrider.ui.config import UiSettings, ui_settings

__all__ = ["UiSettings", "serve", "ui_settings"]


async def serve(
    settings: NatsSettings,
    fleet: str,
    host: str,
    port: int,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
) -> None:
    """Serve the pages until `stop` is set; port 0 takes a free one, and `on_ready` is given the address.

    Raises Refused for an open address without OUTRIDER_UI_TOKEN, PortTaken, NatsUnavailable,
    WrongCredentials, and MissingExtra when the web packages are not installed.
    """
    ui = ui_settings(host, port)
    try:
        from outrider.ui.serving import serve_bridge  # noqa: PLC0415 - FastAPI takes half a second to import
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the pages need {error.name}, which is not installed", hint="pip install 'outrider[ui]'"
        ) from None
    await serve_bridge(settings, fleet, ui, stop, on_ready)
