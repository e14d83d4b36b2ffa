"""The agents as pages see them: ledger facts, heartbeats and the orchestrator's own view in one row each.

Pure: every call is given the time it speaks of.
"""

from __future__ import annotations

from typing import Any

from outrider.broker.messages import Heartbeat
from outrider.broker.states import AgentState
from outrider.broker.views import AgentList, AgentView
from outrider.ledger.entries import Member
from outrider.ui.rows import Row

STATE_OF_MEMBER = {
    "joined": AgentState.ONLINE,
    "back": AgentState.ONLINE,
    "suspect": AgentState.SUSPECT,
    "offline": AgentState.OFFLINE,
    "drained": AgentState.OFFLINE,
}
MOST_AGENTS = 5_000
FORGET_AFTER_S = 3600.0


class Roster:
    """Rows by agent id. A row is replaced, never changed, so that readers can compare by identity."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.kinds: set[str] = set()
        self.paused: tuple[str, ...] = ()
        self.running: dict[str, frozenset[int]] = {}
        """Epochs that each agent said it runs, in its last beat."""
        self.listed_at: float | None = None
        """When an orchestrator last answered, in the caller's clock."""

    def member(self, entry: Member, stored_at: float) -> None:
        """A ledger entry about an agent."""
        state = STATE_OF_MEMBER[entry.type]
        given: Row = {"state": state.value, "since_at": stored_at, "why": entry.why or None}
        if entry.type == "joined":
            self.kinds |= set(entry.kinds)
            given |= {"kinds": list(entry.kinds), "slots": entry.slots, "labels": list(entry.labels)}
            given |= {"host": entry.host, "last_seen_at": stored_at}
        self._update(entry.agent_id, given)

    def beat(self, beat: Heartbeat, now: float) -> None:
        """A sign of life. Whether the agent is online again is for the orchestrator to say."""
        given: Row = {"slots": beat.slots, "last_seen_at": now}
        if beat.kinds is not None:
            given["kinds"] = list(beat.kinds)
        if beat.state is AgentState.DRAINING:
            given["state"] = AgentState.DRAINING.value
        self.running[beat.agent_id] = frozenset(beat.running)
        self._update(beat.agent_id, given)

    def listing(self, answer: AgentList, now: float) -> None:
        """The orchestrator's own view, which knows also who cools down."""
        self.listed_at = now
        self.kinds |= set(answer.kinds)
        self.paused = answer.paused
        for view in answer.agents:
            self._update(view.agent_id, self._from_view(view, now))
        known = {view.agent_id for view in answer.agents}
        for agent_id, row in list(self.rows.items()):
            if agent_id not in known and now - (row["since_at"] or 0.0) > FORGET_AFTER_S:
                self._forget(agent_id)

    def _from_view(self, view: AgentView, now: float) -> Row:
        given: Row = {
            "state": view.state.value,
            "kinds": list(view.kinds),
            "slots": view.slots,
            "labels": list(view.labels),
            "mean_s": {kind: round(value, 6) for kind, value in view.mean_s.items()},
        }
        before = self.rows.get(view.agent_id)
        if before is not None and before["state"] != given["state"]:
            given["since_at"] = now
        if view.last_seen_s is not None:
            seen_at = now - view.last_seen_s
            # The age is rounded on its way: a beat that was heard here is the better witness.
            if before is None or seen_at > (before["last_seen_at"] or 0.0) + 1.5:
                given["last_seen_at"] = seen_at
        return given

    def in_flight(self, agent_id: str, change: int) -> None:
        """An attempt of this agent began (+1) or ended (-1)."""
        if agent_id in self.rows:
            row = self.rows[agent_id]
            self.rows[agent_id] = row | {"in_flight": max(0, row["in_flight"] + change)}
        elif change > 0:
            self._update(agent_id, {"in_flight": change})

    def _update(self, agent_id: str, given: Row) -> None:
        before = self.rows.get(agent_id)
        if before is None:
            if len(self.rows) >= MOST_AGENTS:
                return
            before = _unknown(agent_id)
        after = before | given
        if after != self.rows.get(agent_id):
            self.rows[agent_id] = after

    def _forget(self, agent_id: str) -> None:
        del self.rows[agent_id]
        self.running.pop(agent_id, None)

    def objects(self, now: float) -> list[dict[str, Any]]:
        """Agent objects of design section 8, by id."""
        return [_aged(row, now) for _, row in sorted(self.rows.items())]


def _unknown(agent_id: str) -> Row:
    return {
        "agent_id": agent_id,
        "state": AgentState.OFFLINE.value,
        "kinds": [],
        "slots": 0,
        "in_flight": 0,
        "last_seen_at": None,
        "labels": [],
        "mean_s": {},
        "host": "",
        "since_at": None,
        "why": None,
    }


def _aged(row: Row, now: float) -> Row:
    seen_at = row["last_seen_at"]
    return row | {"last_seen_s": round(max(0.0, now - seen_at), 3) if seen_at is not None else None}
