"""The parts of one running bridge, put together; routes and sockets find everything here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from outrider.broker.clock import Clock
from outrider.broker.config import NatsSettings
from outrider.client import Client
from outrider.ui.config import UiSettings
from outrider.ui.feeds import Feeds
from outrider.ui.hub import Hub
from outrider.ui.projection import Projection
from outrider.ui.running import RunningFinder
from outrider.ui.watches import Watches

LARGE_BODIES_AT_ONCE = 2
KEEP_TRYING_S = 5.0
"""How long a submission from a page is pursued while NATS is away: a person is waiting."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """What answers browsers and scripts."""

    client: Client
    hub: Hub
    watches: Watches
    feeds: Feeds
    finder: RunningFinder
    clock: Clock
    settings: UiSettings
    version: str
    large_bodies: asyncio.Semaphore
    """So many payloads and results over the inline limit are in memory; others wait for their turn."""

    def parts(self) -> list[Coroutine[Any, Any, None]]:
        """What must run beside the server."""
        return [self.feeds.run(), self.watches.run(), self.finder.run()]

    def stop(self) -> None:
        """Tell the parts to end, before they are cancelled."""
        self.feeds.stop()
        self.watches.stop()

    @property
    def projection(self) -> Projection:
        return self.hub.projection

    def about(self) -> dict[str, Any]:
        """What a viewer is told first."""
        return {"version": self.version, "fleet": self.client.subjects.fleet}


def open_client(settings: NatsSettings, fleet: str, clock: Clock) -> Client:
    """The bridge's one connection."""
    return Client(
        settings=settings, fleet=fleet, name="outrider ui", keep_trying_s=KEEP_TRYING_S, clock=clock
    )


def build_bridge(client: Client, clock: Clock, settings: UiSettings, version: str) -> Bridge:
    """Join the parts over an open client."""
    hub = Hub(Projection(), epoch=secrets.token_hex(8))
    hub.link_since = clock.wall()
    watches = Watches(client.connection, client.subjects, client.reader, hub, client.scheduled)
    feeds = Feeds(client.connection, client.subjects, client.reader, hub, watches, clock)
    finder = RunningFinder(client, hub, watches, clock)
    large_bodies = asyncio.Semaphore(LARGE_BODIES_AT_ONCE)
    return Bridge(client, hub, watches, feeds, finder, clock, settings, version, large_bodies)
