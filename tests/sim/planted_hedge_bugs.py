"""Deliberate defects in second attempts and in stopping, that the simulator must notice."""

from __future__ import annotations

from typing import Any

from outrider.broker.hedge_rule import HedgeBudget
from outrider.ledger.fold import Story
from outrider.orchestrator import attempts, core, pairs, stopping
from outrider.orchestrator.instructions import Assign
from outrider.orchestrator.model import Memory, TaskRecord
from tests.sim.planting import Swap, bug, nothing


@bug
def the_loser_of_two_runs_on() -> list[Swap]:
    return [(attempts, "stop_both", nothing)]


@bug
def second_attempts_without_budget() -> list[Swap]:
    return [(HedgeBudget, "has_one", lambda *_: True)]


@bug
def slot_of_the_second_leaks() -> list[Swap]:
    def release_agents(m: Memory, task: TaskRecord) -> None:
        m.agents.vacate(task.story.agent_id, task.task_id)
        task.second = None

    return [(module, "release_agents", release_agents) for module in (attempts, core)]


@bug
def told_again_under_a_new_epoch() -> list[Swap]:
    """An agent that knows its attempt by an older epoch would run it a second time."""

    def assignment(story: Story, agent_id: str, attempt: int, _: int) -> Assign:
        expect = story.expect
        return Assign(story.task_id, agent_id, attempt, story.epoch, expect, story.envelope_seq)

    return [(pairs, "assignment", assignment)]


@bug
def failure_of_one_begins_the_next() -> list[Swap]:
    real = attempts.look_after_both

    def look_after_both(m: Memory, task: TaskRecord) -> None:
        real(m, task)
        if task.second is None and task.writing is None and m.is_mine(task):
            attempts.close(m, task, "dead", "one of two failed")

    return [(attempts, "look_after_both", look_after_both)]


@bug
def hedged_unasked() -> list[Swap]:
    real: Any = core._pulled

    def pulled(m: Memory, event: Any) -> None:
        real(m, event)
        task = m.tasks.get(event.task_id)
        if task is not None:
            task.may_hedge = True

    return [(core, "_pulled", pulled)]


@bug
def stop_not_sent() -> list[Swap]:
    return [(module, "stop", nothing) for module in (attempts, core, stopping)]
