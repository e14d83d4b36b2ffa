"""Why a task went where it went: read back from the ledger's `assigned` entries, nothing is guessed anew."""

from __future__ import annotations

from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, TaskNotFound
from outrider.broker.follower import Stored
from outrider.broker.subjects import Subjects, check_name
from outrider.ledger.entries import Assigned, Entry, Hedged
from outrider.ledger.reader import LedgerReader, record_of


async def explain_task(settings: NatsSettings, fleet: str, task_id: str) -> dict[str, Any]:
    """One object for each attempt: chosen agent, prediction, candidates, reason and model version.

    Raises TaskNotFound, InvalidName, NatsUnavailable or WrongCredentials.
    """
    check_name(task_id, "task id")
    async with await Connection.open(settings, "router explain") as connection:
        stored = await LedgerReader(connection, Subjects(fleet)).stored(task_id)
    attempts = [_attempt(entry) for entry in map(_entry, stored) if isinstance(entry, (Assigned, Hedged))]
    if not attempts:
        raise TaskNotFound(
            f"the ledger holds no assignment of task {task_id}",
            hint="a task that still waits has none; `outrider task get` shows its state",
        )
    return {"task_id": task_id, "attempts": attempts}


def _entry(stored: Stored) -> Entry | None:
    try:
        return record_of(stored).entry
    except DecodeError:
        return None


def _attempt(entry: Assigned | Hedged) -> dict[str, Any]:
    beside = {"beside_after_s": round(entry.ran_s, 3)} if isinstance(entry, Hedged) else {}
    return (
        beside
        | {
            "attempt": entry.attempt,
            "agent": entry.agent_id,
            "reason": entry.reason.value,
            "model": entry.model,
            "waited_s": entry.waiting_s,
            "in_flight": entry.in_flight,
            "slots": entry.slots,
            "p50_s": entry.p50_s,
            "p90_s": entry.p90_s,
            "finish_s": entry.finish_s,
            "candidates": [
                {
                    "agent": candidate.agent_id,
                    "waiting_s": candidate.waiting_s,
                    "p50_s": candidate.p50_s,
                    "p90_s": candidate.p90_s,
                    "finish_s": candidate.finish_s,
                }
                for candidate in entry.candidates
            ],
        }
        | _passed_over(entry)
    )


def _passed_over(entry: Assigned | Hedged) -> dict[str, Any]:
    """Who was no candidate, and why; nothing if everybody who can do the kind was one."""
    found = entry.passed_over if isinstance(entry, Assigned) else None
    if found is None:
        return {}
    named = [{"agent": one.agent_id, "why": one.why} for one in found.agents]
    return {"passed_over": named, "passed_over_count": found.count}
