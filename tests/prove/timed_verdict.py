"""Judges delayed tasks, the fires of a schedule and unique names by LEDGER and what the handlers wrote down.

Pure. That each task ended, and once, the general verdict says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from outrider.broker.messages import TaskEnvelope
from outrider.ledger.entries import Assigned
from outrider.ledger.fold import Record
from outrider.ledger.rules import TERMINAL_TYPES
from tests.prove.book import Book
from tests.prove.notes import Execution
from tests.prove.timed import EVERY_S, Timed


@dataclass(slots=True)
class TimedVerdict:
    """The figures, and what is wrong."""

    delayed: int = 0
    ran_early: list[str] = field(default_factory=list)
    delayed_ran_again: int = 0
    """Delayed tasks of which several attempts ran to the end, as LEDGER had ordered."""
    worst_start_late_s: float = 0.0
    """Of a delayed task, with its wait for a slot."""
    fires: int = 0
    fires_lost: list[str] = field(default_factory=list)
    """Counted in KEYS and not in LEDGER: seen, not explained, and so not promised; a figure and no fault."""
    fired_twice: list[int] = field(default_factory=list)
    fires_passed_over: int = 0
    """Times of the schedule without a fire of their own."""
    fires_passed_over_while_up: int = 0
    """Of those, the ones that no dead node explains: the machine was late."""
    worst_fire_late_s: float = 0.0
    """After the time that the server announced with the fire before."""
    unique_submits: int = 0
    unique_names: int = 0
    unique_tasks: int = 0
    open_twice: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """The counters as the report prints them."""
        return {
            "delayed": self.delayed,
            "delayed_early": len(self.ran_early),
            "delayed_run_again": self.delayed_ran_again,
            "worst_delayed_start_s": round(self.worst_start_late_s, 2),
            "cron_fires": self.fires,
            "cron_fires_lost": len(self.fires_lost),
            "cron_fired_twice": len(self.fired_twice),
            "cron_passed_over": self.fires_passed_over,
            "cron_passed_over_while_up": self.fires_passed_over_while_up,
            "worst_cron_fire_s": round(self.worst_fire_late_s, 2),
            "unique_submits": self.unique_submits,
            "unique_names": self.unique_names,
            "unique_tasks": self.unique_tasks,
            "unique_open_twice": len(self.open_twice),
        }

    def all_faults(self) -> list[str]:
        """Everything that is wrong, a line each."""
        found = [f"delayed task {task_id} started before its time" for task_id in self.ran_early]
        found += [f"the schedule fired twice for {tick * EVERY_S}" for tick in self.fired_twice]
        found += [f"two tasks of unique name {name} were open at once" for name in self.open_twice]
        return found + self.problems


def judge_timed(timed: Timed, book: Book, executions: dict[str, Execution]) -> TimedVerdict:
    """The verdict on all three."""
    verdict = TimedVerdict(delayed=len(timed.due_at))
    verdict.problems += [f"{task_id} was due and is still in LATER" for task_id in timed.left]
    _judge_delayed(verdict, timed, executions)
    _judge_fires(verdict, timed, book)
    _judge_names(verdict, timed, book)
    return verdict


def _judge_delayed(verdict: TimedVerdict, timed: Timed, executions: dict[str, Execution]) -> None:
    started: dict[str, float] = {}
    finished: Counter[str] = Counter()
    for run in executions.values():
        started[run.task_id] = min(run.started_at, started.get(run.task_id, run.started_at))
        finished[run.task_id] += run.is_finished
    for task_id, due_at in timed.due_at.items():
        if task_id not in started:
            verdict.problems.append(f"delayed task {task_id} never ran")
            continue
        if started[task_id] < due_at:
            verdict.ran_early.append(task_id)
        verdict.delayed_ran_again += finished[task_id] > 1
        verdict.worst_start_late_s = max(verdict.worst_start_late_s, started[task_id] - due_at)


def _judge_fires(verdict: TimedVerdict, timed: Timed, book: Book) -> None:
    fired_at = []
    for task_id, records in book.records.items():
        if task_id.rpartition("-")[0] != timed.schedule_id:
            continue
        envelope = _envelope(records)
        if envelope is None:
            verdict.problems.append(f"fire {task_id} has no envelope in LEDGER")
        else:
            fired_at.append(envelope.submitted_at)
    counted = {f"{timed.schedule_id}-{seq}" for seq in timed.fires}
    verdict.fires_lost = sorted(counted - book.records.keys())
    verdict.fires = len(fired_at)
    in_order = [timed.fires[seq] for seq in sorted(timed.fires)]
    verdict.worst_fire_late_s = max((then.at - one.next_at for one, then in pairwise(in_order)), default=0.0)
    _judge_ticks(verdict, timed, Counter(int(at // EVERY_S) for at in fired_at))


def _judge_ticks(verdict: TimedVerdict, timed: Timed, ticks: Counter[int]) -> None:
    """A fire counts for the last time of the schedule before it."""
    verdict.fired_twice = sorted(tick for tick, count in ticks.items() if count > 1)
    missing = [tick for tick in range(timed.first_tick, timed.last_tick + 1) if tick not in ticks]
    verdict.fires_passed_over = len(missing)
    verdict.fires_passed_over_while_up = sum(not _is_near_an_outage(t * EVERY_S, timed) for t in missing)


def _is_near_an_outage(at: float, timed: Timed) -> bool:
    return any(began - EVERY_S <= at <= ended + EVERY_S for began, ended in timed.outages)


def _judge_names(verdict: TimedVerdict, timed: Timed, book: Book) -> None:
    verdict.unique_names = len(timed.answers)
    verdict.unique_submits = sum(map(len, timed.answers.values()))
    tasks: dict[str, list[list[Record]]] = {name: [] for name in timed.answers}
    for records in book.records.values():
        envelope = _envelope(records)
        payload = envelope.payload if envelope is not None else None
        name = payload.get("name") if isinstance(payload, dict) else None
        if name in tasks:
            tasks[name].append(records)
    for name, found in tasks.items():
        verdict.unique_tasks += len(found)
        in_order = sorted(found, key=lambda records: records[0].seq)
        if any(_ended(first) > then[0].seq for first, then in pairwise(in_order)):
            verdict.open_twice.append(name)


def _ended(records: list[Record]) -> float:
    """Where in LEDGER a task has its first terminal entry."""
    return min((r.seq for r in records if r.entry.type in TERMINAL_TYPES), default=float("inf"))


def _envelope(records: list[Record]) -> TaskEnvelope | None:
    """The task itself, which the first assignment holds."""
    given = (r.entry.envelope for r in records if isinstance(r.entry, Assigned))
    return next((envelope for envelope in given if envelope is not None), None)
