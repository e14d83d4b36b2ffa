"""An assignment says who could do the kind and was no candidate, and why."""

from __future__ import annotations

import pytest

from outrider.broker.routing import Candidate, Out, PassedOver
from outrider.broker.states import AgentState
from outrider.ledger.entries import Assigned
from outrider.orchestrator import instructions as do
from outrider.orchestrator.agent_table import AgentTable
from outrider.orchestrator.passing_over import MOST_LOOKED_AT, MOST_NAMED, explained, passed_over
from tests.unit.orchestrator.drive import Drive


def why_out(d: Drive) -> dict[str, str]:
    entry = d.last(do.Write).entry
    assert isinstance(entry, Assigned)
    found = entry.passed_over
    return {one.agent_id: one.why for one in found.agents} if found is not None else {}


def table_of(*states: AgentState, labels: tuple[str, ...] = ()) -> AgentTable:
    """Agents a0, a1, ... without a free slot, in these states."""
    table = AgentTable()
    for number, state in enumerate(states):
        agent = table.enter(f"a{number}")
        agent.state, agent.labels = state, labels
        table.declare(agent, ("echo",))
    return table


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
    assert why_out(d) == {full: "full", draining: "draining"}


def test_an_agent_that_lacks_a_label_is_named() -> None:
    d = Drive()
    d.join("plain")
    d.join("gpu", labels=("gpu",))
    d.run("t1", requires=("gpu",))
    assert d.assigned_to() == "gpu"
    assert why_out(d) == {"plain": "labels"}


def test_a_label_that_a_full_agent_lacks_comes_before_that_it_is_full() -> None:
    table = table_of(AgentState.ONLINE)
    found = explained(passed_over(table, "echo"), (), table, "echo", ("gpu",))
    assert found == PassedOver((Out("a0", "labels"),), 1)


def test_an_agent_that_is_probed_says_so() -> None:
    table = table_of(AgentState.ONLINE)
    agent = table.enter("a0")
    agent.is_probing = True
    assert passed_over(table, "echo") == PassedOver((Out("a0", "probing"),), 1)


def test_agents_that_are_gone_hide_nobody() -> None:
    gone = [AgentState.OFFLINE] * (2 * MOST_LOOKED_AT)
    table = table_of(*gone, AgentState.ONLINE, AgentState.COOLING_DOWN)
    found = passed_over(table, "echo")
    assert found is not None
    assert [one.why for one in found.agents] == ["cooling_down", "full"]
    assert found.count == 2


def test_an_agent_that_comes_back_is_no_longer_passed_over() -> None:
    table = table_of(AgentState.SUSPECT)
    agent = table.enter("a0")
    agent.state, agent.slots = AgentState.ONLINE, 1
    table.refresh(agent)
    assert passed_over(table, "echo") is None


def test_a_full_agent_that_was_a_candidate_all_the_same_is_not_passed_over() -> None:
    known = PassedOver((Out("busy", "draining"), Out("full", "full")), 9)
    candidate, table = Candidate("full", 1.0, 1.0, 2.0, 2.0), AgentTable()
    found = explained(known, (candidate,), table, "echo", ())
    assert found == PassedOver((Out("busy", "draining"),), 8)
    assert explained(PassedOver(known.agents[1:], 1), (candidate,), table, "echo", ()) is None
    assert passed_over(table_of(AgentState.ONLINE), "echo", but_full=True) is None


@pytest.mark.parametrize("agents", [10, 5_000])
def test_of_many_a_few_are_named(agents: int) -> None:
    table = table_of(*[AgentState.DRAINING] * agents)
    found = explained(passed_over(table, "echo"), (), table, "echo", ())
    assert found is not None
    assert (len(found.agents), found.count) == (MOST_NAMED, min(agents, MOST_LOOKED_AT))
