"""echo and sleep, as tests and benchmarks use them."""

from __future__ import annotations

import pytest

from outrider.agents import AgentOptions, ErrorClass, build_agent
from outrider.broker.config import NatsSettings
from outrider.broker.outcomes import Succeeded
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving


async def test_sleep_takes_its_seconds_divided_by_the_speed_and_tells_its_progress(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    agent = build_agent(["sleep", "echo"], "a1", options=AgentOptions(speed=100))
    async with serving(agent, settings, subjects):
        await part.give("a1", "sleep", {"seconds": 100})
        outcome = await part.outcome()
        assert isinstance(outcome, Succeeded)
        assert outcome.result == {"seconds": 100}
        assert 1.0 <= outcome.service_s < 3.0
        told = [c.progress for c in await part.chunks()]
        assert told == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("payload", [None, {}, {"seconds": -1}, {"seconds": "1"}, {"seconds": True}])
async def test_sleep_names_the_field_of_a_bad_payload(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, payload: object
) -> None:
    async with serving(build_agent(["sleep"], "a1"), settings, subjects):
        await part.give("a1", "sleep", payload)
        error = (await part.failure()).error
        assert (error.error_class, error.retryable) == (ErrorClass.INVALID_INPUT, False)
        assert "payload.seconds" in error.message
