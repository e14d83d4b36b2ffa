"""What the core's memory looks like from outside: agents and counters. Changes nothing.

Pure.
"""

from __future__ import annotations

from outrider.broker.states import AgentState
from outrider.broker.views import AgentView, OrchestratorStats
from outrider.orchestrator import overload
from outrider.orchestrator.model import Memory


def agent_views(m: Memory) -> list[AgentView]:
    return [
        AgentView(
            agent.agent_id,
            agent.state,
            agent.kinds,
            agent.slots,
            agent.in_flight,
            round(max(0.0, m.now - agent.heard_at), 3),
            agent.labels,
            dict(agent.mean_s),
        )
        for agent in m.agents
    ]


def stats(m: Memory) -> OrchestratorStats:
    online = sum(agent.state is not AgentState.OFFLINE for agent in m.agents)
    held = sum(m.held.values())
    return OrchestratorStats(
        m.me,
        len(m.tasks) - held,
        held,
        online,
        dict(m.counters),
        m.pauses.is_fleet_paused,
        m.pauses.paused_kinds,
        len(m.letters),
        None if m.ledger_used is None else round(m.ledger_used, 4),
        overload.refusal(m),
        m.limits.views(m.now) or None,
    )
