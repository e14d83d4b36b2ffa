"""Ledger records for tests of the pages' state: short stories told in order."""

from __future__ import annotations

from typing import Any

from outrider.broker.messages import AttemptError, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import Candidate, RouteReason
from outrider.broker.states import ErrorClass
from outrider.ledger.entries import Assigned, Closed, Ended, Entry, Member
from outrider.ledger.fold import Record

START = 1_000.0


class Ledger:
    """Numbers entries as the stream would, with each epoch as the rules want it."""

    def __init__(self) -> None:
        self.seq = 0
        self.now = START
        self._epochs: dict[str, int] = {}
        self._attempts: dict[str, tuple[int, str]] = {}

    def record(self, role: str, writer: str, entry: Entry) -> Record:
        self.seq += 1
        self.now += 1.0
        subject = f"f.ledger.{entry.task_id}.{role}.{writer}"
        self._epochs[entry.task_id] = self.seq
        return Record(self.seq, subject, entry, self.now)

    def epoch(self, task_id: str) -> int:
        return self._epochs.get(task_id, 0)

    def assigned(self, task_id: str, agent_id: str, kind: str = "echo", **more: Any) -> Record:
        attempt = self._attempts.get(task_id, (0, ""))[0] + 1
        self._attempts[task_id] = (attempt, agent_id)
        envelope = (
            TaskEnvelope(kind, {"big": "x" * 50}, task_id, submitted_at=self.now) if attempt == 1 else None
        )
        given: dict[str, Any] = {
            "reason": RouteReason.MODEL,
            "p50_s": 2.0,
            "p90_s": 3.0,
            "waiting_s": 0.5,
            "candidates": (Candidate(agent_id, 0.0, 2.0, 3.0, 2.0),),
        }
        entry = Assigned(
            task_id,
            attempt,
            agent_id,
            "i1",
            self.epoch(task_id),
            kind,
            5,
            envelope=envelope,
            at=self.now,
            **(given | more),
        )
        return self.record("orchestrator", "o-1", entry)

    def succeeded(self, task_id: str, result: Any = "done", service_s: float = 1.0) -> Record:
        attempt, agent_id = self._attempts[task_id]
        entry = Succeeded(task_id, attempt, agent_id, self.epoch(task_id), result, service_s)
        return self.record("agent", agent_id, entry)

    def failed(self, task_id: str, message: str = "it broke") -> Record:
        attempt, agent_id = self._attempts[task_id]
        error = AttemptError(ErrorClass.HANDLER, message, retryable=True)
        entry = Failed(task_id, attempt, agent_id, self.epoch(task_id), error, 0.4)
        return self.record("agent", agent_id, entry)

    def lost(self, task_id: str, why: str = "agent is gone") -> Record:
        attempt, agent_id = self._attempts[task_id]
        entry = Ended(task_id, attempt, agent_id, self.epoch(task_id), "lost", why)
        return self.record("orchestrator", "o-1", entry)

    def dead(self, task_id: str, reason: str = "all attempts failed") -> Record:
        return self.record("orchestrator", "o-1", Closed(task_id, self.epoch(task_id), "dead", reason))


def joined(agent_id: str, *kinds: str, slots: int = 2) -> Member:
    return Member(agent_id, "joined", "i1", kinds or ("echo",), slots)
