"""Entries for tests of the ledger, with defaults for what a test is not about."""

from __future__ import annotations

from typing import Any

from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import LedgerAddress
from outrider.ledger.entries import Assigned, Blocked, Closed, Ended, Entry, Hedged

BY_ORCHESTRATOR = LedgerAddress("t", "orchestrator", "o-1")
ENTRY_TYPES = (
    "assigned",
    "blocked",
    "hedged",
    "succeeded",
    "failed",
    "rejected",
    "lost",
    "timed_out",
    "dead",
    "cancelled",
    "expired",
)


def by_agent(agent_id: str = "a") -> LedgerAddress:
    return LedgerAddress("t", "agent", agent_id)


def writer_of(type_: str, agent_id: str = "a") -> LedgerAddress:
    """Where an honest writer puts an entry of this type."""
    return by_agent(agent_id) if type_ in ("succeeded", "failed") else BY_ORCHESTRATOR


def entry(type_: str, attempt: int, epoch: int, agent_id: str = "a", task_id: str = "t") -> Entry:
    if type_ == "assigned":
        return Assigned(task_id, attempt, agent_id, "i", epoch, "echo", 5, RouteReason.COLD)
    if type_ == "hedged":
        return Hedged(task_id, attempt, agent_id, "i", epoch, "echo", 5, RouteReason.COLD)
    if type_ == "blocked":
        return Blocked(task_id, "echo", 5, after=("p",), epoch=epoch)
    if type_ == "succeeded":
        return Succeeded(task_id, attempt, agent_id, epoch, result={"by": agent_id})
    if type_ == "failed":
        error = AttemptError(ErrorClass.HANDLER, "broke", retryable=True)
        return Failed(task_id, attempt, agent_id, epoch, error)
    if type_ in ("rejected", "lost", "timed_out"):
        return Ended(task_id, attempt, agent_id, epoch, type_, "why", charged=type_ != "rejected")
    return Closed(task_id, epoch, type_, "because")


def as_map(**fields: Any) -> dict[str, Any]:
    """The body of a `succeeded` entry with some fields changed."""
    body = {"type": "succeeded", "task_id": "t", "attempt": 1, "agent_id": "a", "epoch": 3}
    return body | fields
