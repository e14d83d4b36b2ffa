"""On a real nats-server: what kills agents is given up after two; who is stopped fails nothing."""

from __future__ import annotations

from outrider.broker.codec import encode
from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed
from outrider.broker.pipeline import Appender, guard
from outrider.broker.states import AgentState, ErrorClass, TaskState
from outrider.ledger.entries import Closed
from tests.integration.orchestrator.conftest import Fleet


async def test_a_task_that_kills_its_agents_stops_at_the_second(fleet: Fleet) -> None:
    agents = {name: await fleet.agent(name, slots=1) for name in ("a", "b", "c")}
    poison = await fleet.submit(max_attempts=10)
    victims = []
    for _ in range(2):
        story = await fleet.story_when(poison, lambda s: s.is_live and s.agent_id not in victims)
        victims.append(story.agent_id)
        await agents[story.agent_id].next_assignment()
        await agents[story.agent_id].vanish()
    story = await fleet.ended(poison, TaskState.DEAD)
    assert isinstance(story.last, Closed)
    assert story.last.error_class == "poison"
    assert (story.attempt, sorted(story.lost_on)) == (2, sorted(victims))
    healthy = await fleet.submit()
    survivor = next(agents[name] for name in agents if name not in victims)
    await survivor.succeed(await survivor.next_assignment())
    await fleet.ended(healthy)


async def test_an_agent_that_leaves_with_work_costs_it_nothing(fleet: Fleet) -> None:
    leaving = await fleet.agent("a")
    task_id = await fleet.submit(max_attempts=1)
    await leaving.next_assignment()
    await fleet.story_when(task_id, lambda s: s.is_live)
    staying = await fleet.agent("b")
    await leaving.beat(AgentState.DRAINING)
    await leaving.beat(AgentState.OFFLINE)
    again = await staying.next_assignment()
    await staying.succeed(again)
    story = await fleet.ended(task_id)
    assert (story.attempt, story.lost_on) == (2, ()), "though it may fail but once"


async def test_an_attempt_that_was_interrupted_goes_on_elsewhere_at_once(fleet: Fleet) -> None:
    stopped = await fleet.agent("a")
    task_id = await fleet.submit(max_attempts=1)
    given = await stopped.next_assignment()
    staying = await fleet.agent("b")
    await stopped.beat(AgentState.DRAINING)
    error = AttemptError(ErrorClass.INTERRUPTED, "the agent was stopped", retryable=True)
    failed = Failed(task_id, given.attempt, "a", given.epoch, error)
    appender = Appender(fleet.connection)
    await appender.start()
    where, story_of = fleet.subjects.ledger_agent(task_id, "a"), fleet.subjects.story(task_id)
    await appender.append(where, encode(failed), guard(given.expect, story_of))
    await staying.succeed(await staying.next_assignment())
    story = await fleet.ended(task_id)
    assert [error.error_class for error in story.errors] == [ErrorClass.INTERRUPTED]
