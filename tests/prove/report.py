"""Sums up schedules: as one JSON object for programs, as a table for people.

Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.prove.plan import WEIGHTS
from tests.prove.schedule import Outcome


@dataclass(frozen=True, slots=True)
class Broken:
    """A schedule that did not come to a verdict."""

    seed: int
    why: str


def failures(outcomes: Sequence[Outcome], broken: Sequence[Broken]) -> list[int]:
    """The seeds of all schedules that failed."""
    bad = [o.plan.seed for o in outcomes if not o.verdict.is_good or o.restarts]
    return sorted(bad + [b.seed for b in broken])


def summary(outcomes: Sequence[Outcome], broken: Sequence[Broken], took_s: float) -> dict[str, Any]:
    """The figures; `kills` are SIGKILLs, `freezes` SIGSTOPs."""
    blows = [(blow.fault.role, blow.fault.action) for o in outcomes for blow in o.blows]
    kills = Counter(role for role, action in blows if action == "kill")
    freezes = Counter(role for role, action in blows if action == "freeze")
    verdicts = [o.verdict for o in outcomes]
    ends: Counter[str] = sum((v.ends for v in verdicts), start=Counter())
    return {
        "schedules": len(outcomes) + len(broken),
        "tasks": sum(v.tasks for v in verdicts),
        "kills": kills.total(),
        "kills_by_role": {role: kills[role] for role in WEIGHTS},
        "freezes": freezes.total(),
        "freezes_by_role": {role: freezes[role] for role in WEIGHTS},
        "faults_with_work_in_flight": sum(o.with_work for o in outcomes),
        "executions": sum(v.executions for v in verdicts),
        "interrupted_attempts": sum(v.interrupted for v in verdicts),
        "run_to_the_end_again": sum(v.run_again for v in verdicts),
        "ends": dict(ends),
        "lost": sum(len(v.lost) for v in verdicts),
        "recorded_twice": sum(len(v.recorded_twice) for v in verdicts),
        "not_terminal": sum(len(v.not_terminal) for v in verdicts),
        "with_default_thresholds": sum(o.plan.is_default for o in outcomes),
        "longest_settling_s": round(max((o.settled_s for o in outcomes), default=0.0), 1),
        "seeds_failed": failures(outcomes, broken),
        "took_s": round(took_s, 1),
    }


def table(figures: dict[str, Any]) -> str:
    """The same for people."""
    faults = figures["kills"] + figures["freezes"]
    share = 100 * figures["faults_with_work_in_flight"] / faults if faults else 0.0
    rows = [
        ("schedules", _of_which(figures)),
        ("tasks accepted", f"{figures['tasks']}"),
        ("kill -9", _by_role(figures["kills"], figures["kills_by_role"])),
        ("freezes", _by_role(figures["freezes"], figures["freezes_by_role"])),
        ("victims with work in hand", f"{share:.0f} %"),
        ("executions", f"{figures['executions']}, {figures['interrupted_attempts']} cut off by a death"),
        ("ran to the end twice or more", f"{figures['run_to_the_end_again']} tasks, each recorded once"),
        ("ended", ", ".join(f"{count} {end}" for end, count in figures["ends"].items())),
        ("all terminal after", f"{figures['longest_settling_s']} s at most after the last fault"),
        ("lost", str(figures["lost"])),
        ("recorded twice", str(figures["recorded_twice"])),
        ("not terminal", str(figures["not_terminal"])),
        ("seeds that failed", ", ".join(map(str, figures["seeds_failed"])) or "none"),
        ("took", f"{figures['took_s']} s"),
    ]
    return _aligned(rows)


def lines(figures: dict[str, Any]) -> str:
    """Figures of another proof, one a line."""
    return _aligned([(name.replace("_", " "), f"{value}") for name, value in figures.items()])


def _aligned(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in rows)


def _of_which(figures: dict[str, Any]) -> str:
    return f"{figures['schedules']}, {figures['with_default_thresholds']} with default thresholds"


def _by_role(total: int, by_role: dict[str, int]) -> str:
    return f"{total}: " + ", ".join(f"{count} {role}" for role, count in by_role.items())


def story(outcome: Outcome) -> list[str]:
    """What was wrong with one schedule, a line each, and what had been done to it."""
    verdict, plan = outcome.verdict, outcome.plan
    found = verdict.all_faults() + list(outcome.restarts)
    blows = [f"{b.fault.action} {b.victim} for {b.fault.down_s:.1f} s" for b in outcome.blows]
    return [f"seed {plan.seed}: {line}" for line in found[:20]] + [f"  faults: {'; '.join(blows)}"]
