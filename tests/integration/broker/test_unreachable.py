"""A server that is not there is reported at once, with the address and the reason."""

from __future__ import annotations

import asyncio

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable


@pytest.mark.parametrize("url", ["nats://127.0.0.1:9", "nats://127.0.0.1:9,nats://127.0.0.1:10"])
async def test_opening_a_connection_to_nobody_fails_soon_and_says_why(url: str) -> None:
    with pytest.raises(NatsUnavailable, match=r"127\.0\.0\.1:9.*(refused|Connect call failed)"):
        await asyncio.wait_for(Connection.open(NatsSettings(url=url, source="test"), "test"), 10)
