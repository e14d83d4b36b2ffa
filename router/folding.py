"""Ledger entries to statistics: reads only the fields that teach something, and never raises.

Pure. An outcome counts only when its writer is the agent and its epoch the assignment that is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.broker.codec import load
from outrider.broker.errors import OutriderError
from outrider.broker.facts import TaskFacts
from outrider.broker.quick import quickly_made
from outrider.broker.routing import RouteReason
from outrider.broker.schema import from_map
from outrider.broker.subjects import LedgerAddress, parse_ledger
from outrider.router import second
from outrider.router.statistics import Attempt, Statistics

PREDICTED = frozenset({RouteReason.MODEL, RouteReason.EXPLORE, RouteReason.COLD, RouteReason.ONLY_CANDIDATE})
NOT_THE_AGENTS_FAULT = frozenset({"invalid_input", "too_large", "malformed", "poison", "interrupted"})
"""Classes of errors that need not say how the agent will do with another task."""
COUNTED_AS_FAILURE = frozenset({"lost", "timed_out"})
ENDS_ATTEMPT = frozenset({"rejected", "lost", "timed_out"})
ENDS_TASK = frozenset({"dead", "cancelled", "expired"})


@quickly_made
@dataclass(frozen=True, slots=True)
class _Assigned:
    task_id: str
    agent_id: str
    kind: str
    reason: str = ""
    p50_s: float | None = None
    p90_s: float | None = None
    facts: TaskFacts = TaskFacts()
    slots: int = 1
    in_flight: int = 0


@quickly_made
@dataclass(frozen=True, slots=True)
class _Outcome:
    task_id: str
    agent_id: str
    epoch: int
    service_s: float = 0.0


@quickly_made
@dataclass(frozen=True, slots=True)
class Began:
    """An attempt was given to an agent."""

    attempt: Attempt


@quickly_made
@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt succeeded after `service_s`."""

    attempt: Attempt
    service_s: float


def read_entry(
    statistics: Statistics, subject: str, data: bytes, seq: int, stored_at: float
) -> Began | Finished | None:
    """What a stored entry says, before it is learned; None for what teaches no service time."""
    try:
        where = parse_ledger(subject)
        body = load(data)
        if not isinstance(body, dict):
            raise TypeError
        return _read(statistics, where, body, seq, stored_at)
    except (OutriderError, TypeError, ValueError, ArithmeticError):
        statistics.ignored += 1
        return None


def _read(
    statistics: Statistics, where: LedgerAddress, body: dict[str, Any], seq: int, at: float
) -> Began | Finished | None:
    kind = body.get("type")
    if where.role == "agent":
        return _read_outcome(statistics, where, body, kind == "succeeded", seq, at)
    if kind == "assigned":
        return Began(_attempt(statistics, where.task_id, from_map(_Assigned, body), seq, at))
    if kind == "hedged":
        if where.task_id not in statistics.running:
            # Half a pair: nobody would tell when its epoch moves.
            return None
        beside = _attempt(statistics, where.task_id, from_map(_Assigned, body), seq, at)
        return Began(second.begin(statistics, beside))
    if kind in ENDS_ATTEMPT:
        attempt = second.of_agent(statistics, where.task_id, str(body.get("agent_id")))
        if attempt is not None:
            statistics.forgotten(attempt.task_id)
            second.move(statistics, where.task_id, seq)
            if kind in COUNTED_AS_FAILURE:
                statistics.failed(attempt, at)
    if kind in ENDS_TASK:
        second.over(statistics, where.task_id)
    return None


def _attempt(statistics: Statistics, task_id: str, entry: _Assigned, seq: int, at: float) -> Attempt:
    by_us = entry.reason in PREDICTED and (entry.p50_s is None or entry.p50_s > 0.0)
    return Attempt(
        task_id,
        entry.agent_id,
        entry.kind,
        entry.facts,
        max(1, entry.slots),
        max(0, entry.in_flight),
        entry.p50_s if by_us else None,
        seq,
        at,
        entry.p90_s if by_us else None,
        statistics.base(entry.agent_id, entry.kind, at) if by_us else None,
    )


def _read_outcome(
    statistics: Statistics, where: LedgerAddress, body: dict[str, Any], succeeded: bool, seq: int, at: float
) -> Finished | None:
    outcome = from_map(_Outcome, body)
    attempt = second.of_agent(statistics, where.task_id, where.writer)
    if attempt is None or attempt.epoch != outcome.epoch or attempt.agent_id != where.writer:
        statistics.ignored += 1
        return None
    statistics.forgotten(attempt.task_id)
    if not succeeded:
        if _is_agents_fault(body, attempt, at):
            statistics.failed(attempt, at)
        else:
            statistics.excused(attempt, at)
        second.move(statistics, where.task_id, seq)
        return None
    second.over(statistics, where.task_id)
    return Finished(attempt, outcome.service_s)


def _is_agents_fault(body: dict[str, Any], attempt: Attempt, at: float) -> bool:
    """Whether a failure speaks of the agent: not if the task was to blame, or had too little time."""
    error = body.get("error")
    error_class = str(error.get("error_class")) if isinstance(error, dict) else ""
    if error_class == "timeout" and attempt.p90_s is not None and at - attempt.at < attempt.p90_s:
        return False
    return error_class not in NOT_THE_AGENTS_FAULT


def learn(statistics: Statistics, event: Began | Finished | None, stored_at: float) -> None:
    if isinstance(event, Began):
        statistics.began(event.attempt)
    elif isinstance(event, Finished):
        statistics.succeeded(event.attempt, event.service_s, stored_at)


def fold(statistics: Statistics, subject: str, data: bytes, seq: int, stored_at: float) -> None:
    """Fold one stored ledger entry, in ledger order."""
    learn(statistics, read_entry(statistics, subject, data, seq, stored_at), stored_at)
