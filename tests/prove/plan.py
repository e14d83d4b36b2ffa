"""What one schedule does, drawn from its seed and nothing else: faults, outages, and the work of its tasks.

Pure.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

KIND = "work"
MOST_ATTEMPTS = 20
"""So many that no task can run out of them: every accepted task must succeed."""
WEIGHTS = {"agent": 40, "orchestrator": 27, "server": 13, "router": 10, "bridge": 10}
SEATS = {"agent": 3, "orchestrator": 2, "server": 1, "router": 1, "bridge": 1}
"""How many processes of each role a schedule has."""
SLOTS = 4
LONGEST_FREEZE_S = 7.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One blow: `kill` (SIGKILL, started again after `down_s`) or `freeze` (SIGSTOP for `down_s`)."""

    role: str
    seat: int
    action: str
    lead_s: float
    """How long after its batch of tasks was sent it strikes at the earliest."""
    down_s: float
    gap_s: float
    """How long after it the next batch of tasks is sent, whether or not the victim is back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole schedule: a batch of tasks before each fault, and one after the last."""

    seed: int
    faults: tuple[Fault, ...]
    batches: tuple[tuple[dict[str, Any], ...], ...]
    is_default: bool = False
    """Runs with the thresholds as they ship instead of shortened ones."""

    @property
    def tasks(self) -> int:
        return sum(map(len, self.batches))


def plan(seed: int, tasks: int, *, is_default: bool = False) -> Plan:
    """The schedule of a seed."""
    dice = random.Random(f"outrider {seed}")
    faults = tuple(_fault(dice) for _ in range(dice.randint(4, 6)))
    batches: list[list[dict[str, Any]]] = [[] for _ in range(len(faults) + 1)]
    for number in range(tasks):
        batches[number % len(batches)].append(_payload(dice, number))
    return Plan(seed, faults, tuple(map(tuple, batches)), is_default)


def _fault(dice: random.Random) -> Fault:
    role = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    action = "kill" if dice.random() < 0.7 else "freeze"
    # Some freezes outlast the limit after which an agent counts as offline and its attempts run elsewhere.
    down_s = dice.uniform(0.05, 1.5) if action == "kill" else dice.uniform(0.3, LONGEST_FREEZE_S)
    lead_s, gap_s = dice.uniform(0.0, 0.35), dice.uniform(0.0, 0.7)
    return Fault(role, dice.randrange(SEATS[role]), action, lead_s, down_s, gap_s)


def _payload(dice: random.Random, number: int) -> dict[str, Any]:
    """Short work; one task in ten fails once before it succeeds."""
    fails = 1 if dice.random() < 0.1 else 0
    return {"number": number, "seconds": round(dice.uniform(0.05, 0.9), 3), "fails": fails}
