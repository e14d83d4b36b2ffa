"""Deliberate defects of what happens while the ledger is nearly full, that the simulator must notice."""

from __future__ import annotations

from outrider.orchestrator import events, overload
from outrider.orchestrator.model import Memory
from tests.sim.planting import Swap, bug


@bug
def tasks_without_room_are_forgotten() -> list[Swap]:
    def ledger_seen(m: Memory, event: events.LedgerSeen) -> None:
        m.is_ledger_full = event.used >= m.thresholds.ledger_full_at

    return [(overload, "ledger_seen", ledger_seen)]


@bug
def new_tasks_begin_without_room() -> list[Swap]:
    return [(overload, "parks", lambda m, task: False)]
