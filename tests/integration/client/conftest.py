"""A client and its counterpart on a real nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.subjects import Subjects
from outrider.client import Client
from tests.integration.client.counterpart import Counterpart


@pytest.fixture
async def fleet(connection: Connection, subjects: Subjects) -> AsyncIterator[Counterpart]:
    counterpart = Counterpart(connection, subjects)
    await counterpart.start()
    await counterpart.answer_agents()
    yield counterpart
    await counterpart.endpoints.stop()


@pytest.fixture
async def client(settings: NatsSettings, subjects: Subjects, fleet: Counterpart) -> AsyncIterator[Client]:
    async with Client(settings=settings, fleet=subjects.fleet) as opened:
        yield opened
