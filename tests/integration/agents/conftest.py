"""Fixtures of the agent tests: a scripted orchestrator on a real nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from outrider.broker.connection import Connection
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, counterpart


@pytest.fixture
async def part(connection: Connection, subjects: Subjects) -> AsyncIterator[Counterpart]:
    async with counterpart(connection, subjects) as started:
        yield started
