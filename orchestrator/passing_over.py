"""Which agents could do a kind but were no candidates, and why: the ledger keeps it beside each choice.

Pure. Looks at a bounded number of agents, however large the fleet is.
"""

from __future__ import annotations

from itertools import islice

from outrider.broker.routing import Candidate, Out, PassedOver, WhyOut
from outrider.broker.states import AgentState
from outrider.orchestrator.agent_table import AgentRecord, AgentTable

MOST_NAMED = 5
MOST_LOOKED_AT = 64
WHY = {
    AgentState.ONLINE: WhyOut.FULL,
    AgentState.COOLING_DOWN: WhyOut.COOLING_DOWN,
    AgentState.DRAINING: WhyOut.DRAINING,
    AgentState.SUSPECT: WhyOut.SUSPECT,
}
_ORDER = {why.value: number for number, why in enumerate(WhyOut)}
"""The rarer reasons first: that agents are full is seen at a glance elsewhere."""


def passed_over(agents: AgentTable, kind: str, *, but_full: bool = False) -> PassedOver | None:
    """Who cannot take an attempt of the kind now; None if all can. `but_full` leaves out full agents."""
    found = [
        Out(agent.agent_id, why.value)
        for agent in islice(agents.unavailable(kind), MOST_LOOKED_AT)
        if (why := _why(agent)) is not None and not (but_full and why is WhyOut.FULL)
    ]
    if not found:
        return None
    found.sort(key=lambda one: _ORDER[one.why])
    return PassedOver(tuple(found[: 2 * MOST_NAMED]), len(found))


def _why(agent: AgentRecord) -> WhyOut | None:
    is_probing = agent.is_probing and agent.state is AgentState.ONLINE
    return WhyOut.PROBING if is_probing else WHY.get(agent.state)


def explained(
    known: PassedOver | None,
    candidates: tuple[Candidate, ...],
    agents: AgentTable,
    kind: str,
    requires: tuple[str, ...],
) -> PassedOver | None:
    """The same for one task: without those that were candidates after all, with those without its labels."""
    shown = {candidate.agent_id for candidate in candidates}
    out = [one for one in (known.agents if known else ()) if one.agent_id not in shown]
    count = known.count - (len(known.agents) - len(out)) if known else 0
    if requires:
        lacking = [
            agent.agent_id
            for agent in islice(agents.available(kind), MOST_LOOKED_AT)
            if _lacks(agent, requires)
        ]
        out = [Out(one.agent_id, _first_why(agents.get(one.agent_id), one, requires)) for one in out]
        out = [Out(name, WhyOut.LABELS.value) for name in lacking] + out
        count += len(lacking)
    return PassedOver(tuple(out[:MOST_NAMED]), count) if out else None


def _lacks(agent: AgentRecord, requires: tuple[str, ...]) -> bool:
    return not set(requires) <= set(agent.labels)


def _first_why(agent: AgentRecord | None, one: Out, requires: tuple[str, ...]) -> str:
    """That it lacks a label outlasts whatever else keeps it from the task."""
    return WhyOut.LABELS.value if agent is not None and _lacks(agent, requires) else one.why
