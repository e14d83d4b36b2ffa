"""Runs one part in this process until a signal ends it. Knows no part by name."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from outrider.broker.errors import NatsUnavailable, TimedOut
from outrider.cli.exit_codes import OK
from outrider.cli.output import note

SILENT_HINT = "is nats-server frozen, overloaded, or without room on its disk? Its log tells"
OnReady = Callable[[str], None]
Serve = Callable[[asyncio.Event, OnReady], Coroutine[Any, Any, None]]


def announce(what: str) -> None:
    """The line on stderr that tells people and programs that a part is ready."""
    note(f"{what} ready")


def collect_garbage_rarely() -> None:
    """Keep the collector off what lives for ever: it took a tenth of the CPU and found next to nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def run_part(serve: Serve) -> int:
    """Run `serve(stop, on_ready)`; SIGINT or SIGTERM ends it in order, a second one at once."""
    from outrider.broker.service import run_until_signal  # noqa: PLC0415 - it brings NATS

    logging.getLogger("outrider").setLevel(logging.INFO)
    told: list[str] = []

    def on_ready(what: str) -> None:
        told.append(what)
        announce(what)

    async def main(stop: asyncio.Event) -> None:
        collect_garbage_rarely()
        await serve(stop, on_ready)

    try:
        asyncio.run(run_until_signal(main, is_ready=lambda: bool(told)))
    except TimedOut as error:
        # A part waits for nothing but NATS and its JetStream.
        raise NatsUnavailable(f"NATS is there but does not answer: {error}", hint=SILENT_HINT) from None
    return OK
