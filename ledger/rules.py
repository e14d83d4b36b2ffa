"""Who may write what when: the one rule that server, orchestrators, agents and readers share.

Pure. An entry is allowed when its writer's role may write its type now, when it names the task's
present epoch, and when an agent speaks of its own attempt. Everything else is ignored and counted.
"""

from __future__ import annotations

from enum import StrEnum

from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.subjects import LedgerAddress
from outrider.ledger.entries import Assigned, Blocked, Closed, Ended, Entry, Hedged


class Phase(StrEnum):
    """What a task's ledger allows next."""

    UNWRITTEN = "unwritten"
    BLOCKED = "blocked"
    LIVE = "live"
    BETWEEN = "between"
    CLOSED = "closed"


AGENT_TYPES = frozenset({"succeeded", "failed"})
ATTEMPT_ENDS = frozenset({"failed", "rejected", "lost", "timed_out"})
TERMINAL_TYPES = frozenset({"succeeded", "dead", "cancelled", "expired"})

ALLOWED: dict[Phase, frozenset[str]] = {
    Phase.UNWRITTEN: frozenset({"blocked", "assigned", "dead", "cancelled", "expired"}),
    Phase.BLOCKED: frozenset({"assigned", "dead", "cancelled", "expired"}),
    Phase.LIVE: frozenset(
        {"hedged", "succeeded", "failed", "rejected", "lost", "timed_out", "dead", "cancelled", "expired"}
    ),
    Phase.BETWEEN: frozenset({"assigned", "dead", "cancelled", "expired"}),
    Phase.CLOSED: frozenset(),
}


def refusal(
    phase: Phase,
    epoch: int,
    attempt: int,
    agent_id: str,
    where: LedgerAddress,
    entry: Entry,
    *,
    is_pair: bool = False,
) -> str | None:
    """Why the entry is not allowed after this state of its task, or None when it is.

    `attempt` and `agent_id` are of the live attempt that the entry may speak of, or of the newest one if it
    begins another; `is_pair` says that two live already.
    """
    if entry.task_id != where.task_id:
        return "entry speaks of another task than its subject"
    if entry.type not in ALLOWED[phase]:
        return f"{entry.type} is not allowed while {phase.value}"
    if (where.role == "agent") != (entry.type in AGENT_TYPES):
        return f"{where.role} may not write {entry.type}"
    if entry.epoch != epoch:
        return f"epoch {entry.epoch} is not the present epoch {epoch}"
    if isinstance(entry, Assigned):
        return None if entry.attempt == attempt + 1 else f"attempt {entry.attempt} does not follow {attempt}"
    if isinstance(entry, (Blocked, Closed)):
        return None
    if isinstance(entry, Hedged):
        return _hedge_refusal(attempt, agent_id, entry, is_pair=is_pair)
    return _attempt_refusal(attempt, agent_id, where, entry)


def _hedge_refusal(attempt: int, agent_id: str, entry: Hedged, *, is_pair: bool) -> str | None:
    if is_pair:
        return "two attempts live already"
    if entry.agent_id == agent_id:
        return f"{agent_id} runs the task already"
    return None if entry.attempt == attempt + 1 else f"attempt {entry.attempt} does not follow {attempt}"


def _attempt_refusal(
    attempt: int, agent_id: str, where: LedgerAddress, entry: Succeeded | Failed | Ended
) -> str | None:
    if entry.attempt != attempt:
        return f"attempt {entry.attempt} is not the live attempt {attempt}"
    if entry.agent_id != agent_id:
        return f"the attempt belongs to {agent_id}, not to {entry.agent_id}"
    if where.role == "agent" and where.writer != entry.agent_id:
        return f"{where.writer} may not speak for {entry.agent_id}"
    return None
