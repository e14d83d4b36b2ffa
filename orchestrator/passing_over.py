"""Which agents could do a kind but were no candidates, and why: the ledger keeps it beside each choice.

Pure. Looks at a bounded number of agents, however large the fleet is.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    AgentState.OFFLINE: WhyOut.OFFLINE,
}
_ORDER = {why: number for number, why in enumerate(WhyOut)}
"""Those that an operator can do most about first, those that are gone last."""


def passed_over(agents: AgentTable, kind: str) -> PassedOver | None:
    """Who cannot take an attempt of the kind now; None if everybody can."""
    count = agents.count_unavailable(kind)
    if not count:
        return None
    found = (Out(agent.agent_id, _why(agent)) for agent in agents.unavailable(kind))
    return PassedOver(tuple(islice(found, MOST_LOOKED_AT)), count)


def _why(agent: AgentRecord) -> WhyOut:
    return WhyOut.PROBING if agent.is_probing and agent.state is AgentState.ONLINE else WHY[agent.state]


def explained(
    known: PassedOver | None,
    candidates: tuple[Candidate, ...],
    available: Iterator[AgentRecord],
    requires: tuple[str, ...],
) -> PassedOver | None:
    """The same for one task: without those that were candidates after all, with those without its labels."""
    shown = {candidate.agent_id for candidate in candidates}
    out = [one for one in (known.agents if known else ()) if one.agent_id not in shown]
    count = known.count - (len(known.agents) - len(out)) if known else 0
    if requires:
        lacking = [
            Out(agent.agent_id, WhyOut.LABELS)
            for agent in islice(available, MOST_LOOKED_AT)
            if not set(requires) <= set(agent.labels)
        ]
        out, count = lacking + out, count + len(lacking)
    if not out:
        return None
    out.sort(key=lambda one: _ORDER[one.why])
    return PassedOver(tuple(out[:MOST_NAMED]), count)
