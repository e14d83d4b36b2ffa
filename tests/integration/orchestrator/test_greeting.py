"""An orchestrator that starts learns at once whether it is alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from outrider.broker.codec import decode, encode
from outrider.broker.connection import Connection
from outrider.broker.messages import Pulse
from tests.integration.orchestrator.conftest import Fleet
from tests.support.thresholds import QUICK

SELDOM = replace(QUICK, pulse_every_s=60.0)


async def test_a_newcomer_is_answered_with_a_pulse_at_once(fleet: Fleet, connection: Connection) -> None:
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator(SELDOM)
    heard: asyncio.Queue[Pulse] = asyncio.Queue()

    async def pulse(message: Any) -> None:
        heard.put_nowait(decode(Pulse, message.data))

    await connection.subscribe(fleet.subjects.all_pulses, pulse)
    for name, answers in (("o-new", 1), ("o-new", 0), ("o-newer", 1)):
        await connection.publish(fleet.subjects.pulse(name), encode(Pulse(name, 0, False)))
        await connection.settle()
        assert (await asyncio.wait_for(heard.get(), 20)).orchestrator == name
        if answers:
            answer = await asyncio.wait_for(heard.get(), 20)
            assert not answer.orchestrator.startswith("o-new")
    assert heard.empty()
