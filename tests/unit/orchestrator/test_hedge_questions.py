"""How often and about which agents the router is asked for a second one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from outrider.broker.routing import Choice, RouteReason
from outrider.ledger.entries import Hedged
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.agent_table import AgentRecord
from tests.unit.orchestrator.hedged_pair import EAGER, Pair


def test_one_token_is_one_question_however_many_tasks_are_late() -> None:
    drive = Pair(replace(EAGER, hedge_share=0.01))
    drive.join("a", slots=4, labels=("gpu",))
    for name in "uvw":
        drive.pull(name, may_hedge=True)
        drive.choose(name, "a")
        drive.store()
        drive.agree()
    drive.pass_s(5)
    assert len(drive.asked()) == 1
    drive.feed(events.Routed(drive.asked()[0].round, (), "m1"))
    drive.pass_s(5)
    assert len(drive.asked()) == 2


def test_a_task_is_asked_about_once_at_a_time() -> None:
    drive = Pair()
    drive.core.memory.hedges.tokens = 9.0
    drive.pass_s(10)
    assert len(drive.asked()) == 1


def test_a_round_about_other_kinds_is_no_obstacle() -> None:
    drive = Pair()
    drive.pass_s(1.5)
    (question,) = drive.asked()
    drive.feed(events.AgentJoined("c", "c-1", ("other",), 1, (), (), ""))
    drive.pull("x", kind="other")
    assert drive.core.memory.round is not None
    choice = Choice("t", "b", 0.5, 1.0, 0.5, RouteReason.MODEL)
    drive.feed(events.Routed(question.round, (choice,), "m1"))
    assert isinstance(drive.last(do.Write).entry, Hedged)


@pytest.mark.parametrize(("slots", "is_begun"), [(1, False), (2, True)])
def test_a_slot_that_the_round_may_need_is_left_to_it(slots: int, is_begun: bool) -> None:
    drive = Pair()
    drive.join("b", slots=slots)
    drive.pass_s(1.5)
    (question,) = drive.asked()
    drive.pull("x")
    assert drive.core.memory.round is not None
    choice = Choice("t", "b", 0.5, 1.0, 0.5, RouteReason.MODEL)
    drive.feed(events.Routed(question.round, (choice,), "m1"))
    assert isinstance(drive.last(do.Write).entry, Hedged) is is_begun


def test_no_more_agents_are_looked_at_than_the_router_is_told_of() -> None:
    drive = Pair(replace(EAGER, most_candidates=3))
    looked = 0
    real = drive.core.memory.agents.available

    def available(kind: str) -> Iterator[AgentRecord]:
        nonlocal looked
        for agent in real(kind):
            looked += 1
            yield agent

    for n in range(20):
        drive.join(f"c{n}", labels=("gpu",))
    drive.core.memory.tasks["t"].requires = ("tpu",)
    drive.core.memory.agents.available = available  # type: ignore[method-assign]
    drive.pass_s(1.5)
    assert 0 < looked <= 6
