"""An agent freezes in the middle of a task that may run twice: another finishes it, long before any timeout.

Real processes. The frozen one is thawed in the end and learns that its attempt is over.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import AsyncExitStack

from outrider.broker.codec import decode, encode
from outrider.broker.config import NatsSettings
from outrider.broker.messages import Heartbeat, Ping
from outrider.broker.server import PrivateServer
from outrider.client import Client
from outrider.ledger.reader import LedgerReader
from tests.support.processes import Process
from tests.support.waiting import eventually

LASTS_S = 40.0
"""On the agent that is frozen in the middle of it, whatever the machine does beside."""
TIMES_FASTER = "100"
"""The other agent, which starts when the first is frozen."""


async def test_a_frozen_agents_task_is_finished_by_another(server: PrivateServer) -> None:
    env = {"NATS_URL": server.url, "OUTRIDER_HEDGE_LEAST_S": "0.2"}
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        await start(Process("orchestrator", env=env))
        agent = ("agent", "--kinds", "sleep", "--slots", "1", "--name")
        one = await start(Process(*agent, "one", env=env))
        client = await start(Client(settings=NatsSettings(url=server.url, source="test")))
        await (await client.submit("sleep", {"seconds": 0.01})).result()
        submit = Process("submit", "sleep", "--data", json.dumps({"seconds": LASTS_S}), "--hedge", env=env)
        submit.start()
        assert await submit.ended() == 0
        task_id = submit.out.strip()
        reader = LedgerReader(client.connection, client.subjects)

        async def is_running() -> bool:
            beat = decode(Heartbeat, (await client.connection.request(ping, encode(Ping()), 5.0)).data)
            return bool(beat.running)

        ping = client.subjects.agent("one", "ping")
        await eventually(is_running, what="an attempt")
        os.kill(one.pid, signal.SIGSTOP)
        try:
            await start(Process(*agent, "two", "--speed", TIMES_FASTER, env=env))
            view = await (await client.task(task_id)).ended(60)
        finally:
            os.kill(one.pid, signal.SIGCONT)
        assert (view.state, view.agent, view.attempts) == ("succeeded", "two", 2)
        story = await reader.story(task_id)
        assert story.ignored == []
        await thawed(client, "one")
        assert (await reader.story(task_id)).expect == story.expect

        shown = Process("ledger", "story", task_id, "--json", env=env)
        shown.start()
        assert await shown.ended() == 0
        types = [one["entry"]["type"] for one in json.loads(shown.out)["entries"]]
        assert types == ["assigned", "hedged", "succeeded"]


async def thawed(client: Client, name: str) -> None:
    """Wait until the agent runs nothing and has nothing left to record."""
    subject = client.subjects.agent(name, "ping")

    async def is_idle() -> bool:
        beat = decode(Heartbeat, (await client.connection.request(subject, encode(Ping()), 5.0)).data)
        return not beat.running and not beat.spooled

    await eventually(is_idle, what="an idle agent")
