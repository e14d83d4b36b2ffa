"""The NATS of a fleet that is started here: the one that was named, else a private server of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from outrider.broker.config import PRIVATE, NatsSettings
from outrider.broker.errors import Refused
from outrider.broker.server import PrivateServer
from outrider.cli.config import Surroundings
from outrider.cli.output import note


@asynccontextmanager
async def nats_server(
    here: Surroundings, store: Path | None, port: int = -1, *, alone: bool = False
) -> AsyncIterator[NatsSettings]:
    """Where NATS is while the block runs.

    A private server leaves its address in the state folder, for other programs of this folder. `alone` means
    that one which already runs there is an error.
    """
    settings = here.settings()
    if not settings.is_default:
        note(f"using NATS at {settings.url} (from {settings.source})")
        yield settings
        return
    if alone and settings.source == PRIVATE:
        raise Refused(
            f"a fleet runs for this state folder already, on {settings.url}",
            hint="use it, or name another folder with --state",
        )
    async with PrivateServer(store, port) as server:
        note(f"private NATS server on {server.url}")
        with _noted(here.note, server) if settings.source != PRIVATE else contextlib.nullcontext():
            yield replace(settings, url=server.url, source=PRIVATE)


@contextlib.contextmanager
def _noted(path: Path, server: PrivateServer) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"url": server.url, "pid": server.pid}), encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
