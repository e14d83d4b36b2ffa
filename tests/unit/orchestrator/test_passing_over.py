"""An assignment says who could do the kind and was no candidate, and why."""

from __future__ import annotations

import pytest

from outrider.broker.routing import Candidate, Out, PassedOver, WhyOut
from outrider.broker.states import AgentState
from outrider.ledger.entries import Assigned
from outrider.orchestrator import instructions as do
from outrider.orchestrator.agent_table import AgentTable
from outrider.orchestrator.passing_over import MOST_NAMED, explained, passed_over
from tests.unit.orchestrator.drive import Drive


def why_out(d: Drive) -> dict[str, WhyOut]:
    entry = d.last(do.Write).entry
    assert isinstance(entry, Assigned)
    found = entry.passed_over
    return {one.agent_id: one.why for one in found.agents} if found is not None else {}


def test_nothing_is_said_where_everybody_was_a_candidate() -> None:
    d = Drive()
    d.join("a")
    d.join("b")
    d.run("t1")
    entry = d.last(do.Write).entry
    assert isinstance(entry, Assigned)
    assert entry.passed_over is None


def test_full_and_draining_agents_are_named_with_the_reason() -> None:
    d = Drive()
    for name in ("a", "b", "c"):
        d.join(name)
    d.run("t1")
    full = d.assigned_to()
    draining, left = sorted({"a", "b", "c"} - {full})
    d.beat(draining, state=AgentState.DRAINING)
    d.run("t2")
    assert d.assigned_to() == left
    assert why_out(d) == {full: WhyOut.FULL, draining: WhyOut.DRAINING}


def test_an_agent_that_lacks_a_label_is_named() -> None:
    d = Drive()
    d.join("plain")
    d.join("gpu", labels=("gpu",))
    d.run("t1", requires=("gpu",))
    assert d.assigned_to() == "gpu"
    assert why_out(d) == {"plain": WhyOut.LABELS}


def test_an_agent_that_is_gone_is_named_last() -> None:
    known = PassedOver((Out("gone", WhyOut.OFFLINE), Out("full", WhyOut.FULL)), 2)
    found = explained(known, (), iter(()), ())
    assert found is not None
    assert [one.agent_id for one in found.agents] == ["full", "gone"]


def test_a_full_agent_that_was_a_candidate_all_the_same_is_not_passed_over() -> None:
    known = PassedOver((Out("full", WhyOut.FULL), Out("gone", WhyOut.OFFLINE)), 9)
    candidate = Candidate("full", 1.0, 1.0, 2.0, 2.0)
    found = explained(known, (candidate,), iter(()), ())
    assert found == PassedOver((Out("gone", WhyOut.OFFLINE),), 8)
    assert explained(PassedOver(known.agents[:1], 1), (candidate,), iter(()), ()) is None


@pytest.mark.parametrize("agents", [10, 5_000])
def test_of_many_a_few_are_named_and_all_are_counted(agents: int) -> None:
    table = AgentTable()
    for number in range(agents):
        agent = table.enter(f"a{number}")
        agent.slots, agent.state = 1, AgentState.DRAINING
        table.declare(agent, ("echo",))
    known = passed_over(table, "echo")
    found = explained(known, (), iter(()), ())
    assert found is not None
    assert (len(found.agents), found.count) == (MOST_NAMED, agents)
    table.declare(table.enter("a0"), ())
    assert table.count_unavailable("echo") == agents - 1
