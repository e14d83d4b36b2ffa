"""The ledger's rules once more, written from the design and not from ledger/: the judge of every entry.

It shares no code with what it judges, so that a defect there does not blind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

TERMINAL = {"succeeded", "dead", "cancelled", "expired"}
BY_AGENT = {"succeeded", "failed"}
ENDS_ATTEMPT = {"failed", "rejected", "lost", "timed_out"}


@dataclass(slots=True)
class Case:
    """What the ledger says of one task, by the law."""

    task_id: str
    state: str = "unwritten"
    epoch: int = 0
    expect: int = 0
    attempt: int = 0
    """The newest number."""
    lives: dict[int, tuple[str, int, float]] = field(default_factory=dict)
    """Live attempts: agent, the epoch it was given first, and when."""
    is_try_charged: bool = False
    """An attempt of two that ended before the other was to be charged."""
    is_hopeless: bool = False
    """An attempt of two ended in a way that no other can mend."""
    owner: str = ""
    charged: int = 0
    uncharged_in_a_row: int = 0
    lost_on: set[str] = field(default_factory=set)
    """Agents that died with it."""
    last: Any = None
    last_at: float = 0.0
    terminal: list[str] = field(default_factory=list)
    """Types of the terminal entries that count."""

    def judge(self, seq: int, role: str, writer: str, entry: Any, now: float) -> str:
        """Fold an entry; returns why it does not count, or nothing."""
        why = self._objection(role, writer, entry)
        self.expect = seq
        if not why:
            self._fold(seq, role, writer, entry, now)
        return why

    def _objection(self, role: str, writer: str, entry: Any) -> str:
        if self.state == "closed":
            return "the task is terminal"
        if entry.task_id != self.task_id or entry.epoch != self.epoch:
            return f"epoch {entry.epoch} of {entry.task_id}, present is {self.epoch}"
        if (entry.type in BY_AGENT) != (role == "agent"):
            return f"{role} writes {entry.type}"
        if entry.type == "blocked":
            return "" if self.state == "unwritten" else f"blocked while {self.state}"
        if entry.type == "assigned":
            follows = self.state != "live" and entry.attempt == self.attempt + 1
            return "" if follows else f"attempt {entry.attempt} while {self.state}"
        if entry.type == "hedged":
            return self._objection_to_hedge(entry)
        if entry.type not in TERMINAL - BY_AGENT:
            return self._objection_to_end(role, writer, entry)
        return ""

    def _objection_to_hedge(self, entry: Any) -> str:
        if self.state != "live" or len(self.lives) != 1:
            return f"hedged while {self.state} with {len(self.lives)} live attempts"
        is_second = all(agent_id != entry.agent_id for agent_id, _, _ in self.lives.values())
        return "" if is_second and entry.attempt == self.attempt + 1 else "not another agent's next attempt"

    def _objection_to_end(self, role: str, writer: str, entry: Any) -> str:
        if self.state != "live":
            return f"{entry.type} while {self.state}"
        if entry.attempt not in self.lives or self.lives[entry.attempt][0] != entry.agent_id:
            return "not a live attempt, or not this agent's"
        return "one agent speaks for another" if role == "agent" and writer != entry.agent_id else ""

    def _fold(self, seq: int, role: str, writer: str, entry: Any, now: float) -> None:
        self.epoch, self.last, self.last_at = seq, entry, now
        if role == "orchestrator":
            self.owner = writer
        if entry.type in ("assigned", "hedged"):
            if entry.type == "assigned":
                self.state, self.is_try_charged, self.is_hopeless = "live", False, False
            self.attempt = entry.attempt
            self.lives[entry.attempt] = (entry.agent_id, seq, now)
        elif entry.type == "blocked":
            self.state = "blocked"
        elif entry.type in TERMINAL:
            self.state = "closed"
            self.terminal.append(entry.type)
            self.lives.clear()
        else:
            self._fold_end(entry)

    def _fold_end(self, entry: Any) -> None:
        """Two attempts at once are one try: charged when both are over, if any end was to be charged."""
        del self.lives[entry.attempt]
        if _is_charged(entry):
            self.is_try_charged = True
            if entry.type == "lost":
                self.lost_on.add(entry.agent_id)
        if entry.type == "failed" and not entry.error.retryable:
            self.is_hopeless = True
        if self.lives:
            return
        self.state = "between"
        if self.is_try_charged:
            self.charged, self.uncharged_in_a_row = self.charged + 1, 0
        else:
            self.uncharged_in_a_row += 1


def _is_charged(entry: Any) -> bool:
    if entry.type == "failed":
        error = entry.error
        is_turned_away = error.error_class == "rate_limited" and error.retry_after_s is not None
        return error.error_class != "interrupted" and not is_turned_away
    return bool(entry.charged)


def pause_s(task_id: str, nth: int, first_s: float, cap_s: float, retry_after_s: float | None) -> float:
    """The least wait after the `nth` charged end, which everybody must compute alike."""
    if retry_after_s is not None:
        return retry_after_s
    digest = blake2b(f"{task_id}/{nth}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * min(cap_s, first_s * 2.0 ** (nth - 1))
