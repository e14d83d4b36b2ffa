"""What was accepted and what the ledger says, with the time of each: who had work in hand at which moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from outrider.broker.subjects import parse_ledger
from outrider.ledger.fold import Record
from outrider.ledger.rules import TERMINAL_TYPES


@dataclass(slots=True)
class Book:
    """Filled from LEDGER to judge, or from `live` to choose a moment. Times are of this machine's clock."""

    accepted: dict[str, float] = field(default_factory=dict)
    """When each task was accepted."""
    records: dict[str, list[Record]] = field(default_factory=dict)
    """The entries of each task, in order."""
    unreadable: list[str] = field(default_factory=list)

    def add(self, record: Record) -> None:
        self.records.setdefault(record.entry.task_id, []).append(record)

    def _newest(self, task_id: str, at: float) -> Record | None:
        before = [record for record in self.records.get(task_id, ()) if record.stored_at <= at]
        return before[-1] if before else None

    def unfinished(self, at: float) -> set[str]:
        """Tasks that were accepted and not over."""
        found = set()
        for task_id, accepted_at in self.accepted.items():
            newest = self._newest(task_id, at)
            is_over = newest is not None and newest.entry.type in TERMINAL_TYPES
            if accepted_at <= at and not is_over:
                found.add(task_id)
        return found

    def unrouted(self, at: float) -> set[str]:
        """Unfinished tasks that have no live attempt: a router is needed for them."""
        found = set()
        for task_id in self.unfinished(at):
            newest = self._newest(task_id, at)
            if newest is None or newest.entry.type != "assigned":
                found.add(task_id)
        return found

    def owned(self, orchestrator_id: str, at: float) -> set[str]:
        """Unfinished tasks whose newest orchestrator entry is of this orchestrator."""
        return {task_id for task_id in self.unfinished(at) if self._owner(task_id, at) == orchestrator_id}

    def _owner(self, task_id: str, at: float) -> str:
        for record in reversed(self.records.get(task_id, [])):
            where = parse_ledger(record.subject)
            if record.stored_at <= at and where.role == "orchestrator":
                return where.writer
        return ""
