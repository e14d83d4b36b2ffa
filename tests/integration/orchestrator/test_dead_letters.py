"""Dead letters on a real nats-server: listed, requeued once however often asked, discarded, remembered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outrider.broker.codec import dump
from outrider.broker.errors import InvalidTask, Refused, TaskNotFound
from outrider.broker.follower import StreamReader
from outrider.broker.states import TaskState
from outrider.ledger.control import decode_control
from tests.integration.orchestrator.conftest import Fleet
from tests.support.scripted_agent import ScriptedAgent


async def ask(fleet: Fleet, verb: str, **fields: Any) -> Any:
    return await fleet.ask(f"{fleet.subjects.fleet}.{verb}", dump(fields))


async def die(fleet: Fleet, agent: ScriptedAgent, **fields: Any) -> str:
    """A task that its agent failed for good."""
    task_id = await fleet.submit(**fields)
    await agent.fail(await agent.next_assignment(), retryable=False)
    await fleet.ended(task_id, TaskState.DEAD)
    return task_id


def ids(answer: Any) -> list[str]:
    return [letter["task_id"] for letter in answer["letters"]]


async def test_a_dead_letter_is_listed_and_does_its_work_again_as_a_new_task(fleet: Fleet) -> None:
    agent = await fleet.agent("a")
    task_id = await die(fleet, agent, payload={"n": 1}, priority=2, idempotency_key="mine")
    listed = await ask(fleet, "dead")
    assert ids(listed) == [task_id]
    letter = listed["letters"][0]
    assert (letter["kind"], letter["error_class"], letter["attempts"]) == ("echo", "handler", 1)
    assert letter["reason"] == "it did not work"
    new_id = (await ask(fleet, "requeue", task_id=task_id))["letters"][0]["requeued_as"]
    again = await agent.next_assignment()
    assert (again.task_id, again.payload, again.priority) == (new_id, {"n": 1}, 2)
    await agent.succeed(again)
    story = await fleet.ended(new_id)
    assert story.envelope is not None
    assert story.envelope.requeued_from == task_id
    assert story.envelope.idempotency_key is None
    assert (await fleet.ledger.story(task_id)).state is TaskState.DEAD
    assert ids(await ask(fleet, "dead")) == []


async def test_requeueing_twice_gives_the_same_task_once(fleet: Fleet) -> None:
    agent = await fleet.agent("a")
    task_id = await die(fleet, agent)
    answers = await asyncio.gather(*(ask(fleet, "requeue", task_id=task_id) for _ in range(5)))
    new_ids = {answer["letters"][0]["requeued_as"] for answer in answers}
    assert len(new_ids) == 1
    await agent.succeed(await agent.next_assignment())
    story = await fleet.ended(new_ids.pop())
    after = await ask(fleet, "requeue", task_id=task_id)
    assert after["letters"][0]["requeued_as"] == story.task_id
    assert agent.assigned.empty()


async def test_what_is_discarded_is_listed_no_more_and_cannot_be_requeued(fleet: Fleet) -> None:
    agent = await fleet.agent("a")
    gone, kept = await die(fleet, agent), await die(fleet, agent)
    await ask(fleet, "discard", task_id=gone, reason="seen")
    await ask(fleet, "discard", task_id=gone)
    assert ids(await ask(fleet, "dead")) == [kept]
    with pytest.raises(Refused, match="was discarded"):
        await ask(fleet, "requeue", task_id=gone)
    reader = StreamReader(fleet.connection, fleet.subjects.ledger_stream)
    (fact,) = await reader.all_of(fleet.subjects.all_control)
    control = decode_control(fact.data)
    assert (control.type, control.task_id, control.reason) == ("discarded", gone, "seen")


async def test_many_are_requeued_by_filter_after_a_dry_run(fleet: Fleet) -> None:
    agent = await fleet.agent("a", slots=10, kinds=("echo", "cook"))
    echoes = [await die(fleet, agent) for _ in range(3)]
    cooked = await die(fleet, agent, kind="cook")
    dry = await ask(fleet, "requeue", kind="echo", dry_run=True)
    assert (dry["matched"], dry["dry_run"], ids(dry)) == (3, True, echoes[::-1])
    assert len(ids(await ask(fleet, "dead"))) == 4, "a dry run changes nothing"
    assert (await ask(fleet, "dead", error_class="quota"))["matched"] == 0
    assert (await ask(fleet, "dead", older_than_s=3600))["matched"] == 0
    assert (await ask(fleet, "dead", newer_than_s=3600))["matched"] == 4
    first = await ask(fleet, "requeue", kind="echo", limit=2)
    assert (ids(first), first["matched"]) == (echoes[:0:-1], 3)
    rest = await ask(fleet, "requeue", kind="echo", limit=2, before=first["next_before"])
    assert (ids(rest), rest.get("next_before")) == (echoes[:1], None)
    for _ in range(3):
        await agent.succeed(await agent.next_assignment())
    assert ids(await ask(fleet, "discard", all=True)) == [cooked]
    assert ids(await ask(fleet, "dead")) == []


async def test_what_was_dealt_with_stays_dealt_with_after_a_restart(fleet: Fleet) -> None:
    agent = await fleet.agent("a")
    requeued, discarded, kept = [await die(fleet, agent) for _ in range(3)]
    new_id = (await ask(fleet, "requeue", task_id=requeued))["letters"][0]["requeued_as"]
    await ask(fleet, "discard", task_id=discarded)
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(new_id)
    await fleet.crash_orchestrator()
    await fleet.start_orchestrator()
    assert ids(await ask(fleet, "dead")) == [kept]
    await fleet.start_orchestrator()
    for _ in range(4):
        assert ids(await ask(fleet, "dead")) == [kept], "whichever orchestrator answers"


async def test_what_could_not_be_read_is_listed_and_cannot_be_requeued(fleet: Fleet) -> None:
    agent = await fleet.agent("a")
    await fleet.connection.request(fleet.subjects.task("echo", 5, "bad"), b"\xc1", 5.0)
    await fleet.ended("bad", TaskState.DEAD)
    good = await die(fleet, agent)
    done = await ask(fleet, "requeue", all=True)
    assert ids(done) == [good, "bad"]
    assert "requeued_as" in done["letters"][0]
    assert done["letters"][1]["error"]["code"] == "refused"
    assert ids(await ask(fleet, "dead")) == ["bad"]


async def test_requests_that_make_no_sense_are_refused_by_name(fleet: Fleet) -> None:
    agent = await fleet.agent("a")
    with pytest.raises(TaskNotFound):
        await ask(fleet, "requeue", task_id="nobody")
    with pytest.raises(InvalidTask, match="which dead letters"):
        await ask(fleet, "requeue")
    with pytest.raises(InvalidTask, match="exclude"):
        await ask(fleet, "discard", task_id="t", kind="echo")
    task_id = await fleet.submit()
    await agent.succeed(await agent.next_assignment())
    await fleet.ended(task_id)
    with pytest.raises(Refused, match="succeeded, not dead"):
        await ask(fleet, "requeue", task_id=task_id)


async def test_a_deadline_counts_anew_from_the_requeue(fleet: Fleet) -> None:
    agent = await fleet.agent("a")
    task_id = await die(fleet, agent, submitted_at=1_000.0, deadline_at=1_000.0 + 4e9)
    new_id = (await ask(fleet, "requeue", task_id=task_id))["letters"][0]["requeued_as"]
    given = await agent.next_assignment()
    await agent.succeed(given)
    story = await fleet.ended(new_id)
    assert story.envelope is not None
    assert given.deadline_at == pytest.approx(story.envelope.submitted_at + 4e9)
