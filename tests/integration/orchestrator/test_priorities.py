"""Who goes first on a real nats-server: the urgent, and now and then whoever waited long."""

from __future__ import annotations

from dataclasses import replace

from outrider.broker.codec import encode
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import Appender
from tests.integration.orchestrator.conftest import Fleet
from tests.support.thresholds import QUICK


async def test_a_late_first_priority_overtakes_a_long_queue_in_one_round(fleet: Fleet) -> None:
    agent = await fleet.agent("a1", slots=1)
    await fleet.submit()
    running = await agent.next_assignment()
    appender, subjects = Appender(fleet.connection), fleet.subjects
    await appender.start()
    for number in range(3000):
        envelope = TaskEnvelope("echo", task_id=f"w{number}", priority=5)
        await appender.send(subjects.task("echo", 5, f"w{number}"), encode(envelope), lambda receipt: None)
    urgent = await fleet.submit(priority=0)
    await agent.succeed(running)

    assert (await agent.next_assignment()).task_id == urgent


async def test_what_waited_long_is_not_starved_by_urgent_tasks(fleet: Fleet) -> None:
    await fleet.stop()
    await fleet.start_orchestrator(replace(QUICK, ageing_s=0.001, ageing_every=3))
    agent = await fleet.agent("a1", slots=1)
    await fleet.submit()
    running = await agent.next_assignment()
    patient = await fleet.submit(priority=9)
    served = []
    for _ in range(12):
        await fleet.submit(priority=0)
        await agent.succeed(running)
        running = await agent.next_assignment()
        served.append(running.task_id)
    assert patient in served
