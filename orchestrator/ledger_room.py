"""Looks how full LEDGER is, again and again, and tells the core. Decides nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.orchestrator import events

log = logging.getLogger(__name__)


class LedgerRoom:
    """The filling of one stream. `run` must run beside."""

    def __init__(
        self, connection: Connection, stream: str, check_s: float, post: Callable[[events.Event], None]
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._check_s = check_s
        self._post = post

    async def run(self) -> None:
        """Look every `check_s` until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._check_s)

    async def look(self) -> None:
        """Tell once how full the stream is."""
        try:
            info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        except OutriderError as error:
            log.info("how full %s is cannot be read: %s", self._stream, error.message)
            return
        bound = int(info["config"].get("max_bytes", -1))
        used = int(info["state"]["bytes"]) / bound if bound > 0 else 0.0
        self._post(events.LedgerSeen(used))
