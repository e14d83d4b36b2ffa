"""A bridge on a real nats-server, with a fleet that writes what orchestrator and agents would write."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.subjects import Subjects
from tests.integration.client.counterpart import Counterpart
from tests.integration.orchestrator.conftest import Fleet
from tests.integration.ui.running import RunningBridge


@pytest.fixture
async def fleet(connection: Connection, subjects: Subjects) -> AsyncIterator[Counterpart]:
    counterpart = Counterpart(connection, subjects)
    await counterpart.start()
    await counterpart.answer_agents()
    yield counterpart
    await counterpart.endpoints.stop()


@pytest.fixture
async def bridge(
    settings: NatsSettings, subjects: Subjects, fleet: Counterpart
) -> AsyncIterator[RunningBridge]:
    async with RunningBridge(settings, subjects.fleet) as running:
        yield running


@pytest.fixture
async def whole(settings: NatsSettings, connection: Connection, subjects: Subjects) -> AsyncIterator[Fleet]:
    """A fleet with a real orchestrator."""
    running = Fleet(settings, connection, subjects)
    await running.start_orchestrator()
    yield running
    await running.stop()


@pytest.fixture
async def served(settings: NatsSettings, whole: Fleet) -> AsyncIterator[RunningBridge]:
    async with RunningBridge(settings, whole.subjects.fleet) as running:
        yield running
