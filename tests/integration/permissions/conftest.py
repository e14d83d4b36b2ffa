"""A nats-server with the shipped nats.conf, and connections as its users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from outrider.broker.connection import Connection
from tests.support.production_server import ProductionServer

ConnectAs = Callable[[str], Awaitable[Connection]]


@pytest.fixture
async def production() -> AsyncIterator[ProductionServer]:
    async with ProductionServer() as running:
        yield running


@pytest.fixture
async def connect_as(production: ProductionServer) -> AsyncIterator[ConnectAs]:
    async with AsyncExitStack() as connections:

        async def connect(user: str) -> Connection:
            opened = await Connection.open(production.settings(user), f"test {user}")
            return await connections.enter_async_context(opened)

        yield connect
