"""Judges a schedule by LEDGER, by what the handlers wrote down, and by what clients were told was accepted.

Pure. It shares the fold with the product and asks no orchestrator.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from outrider.broker.outcomes import Succeeded
from outrider.ledger.entries import Assigned
from outrider.ledger.fold import Record, fold_story
from outrider.ledger.rules import TERMINAL_TYPES
from tests.prove.book import Book
from tests.prove.notes import Execution


@dataclass(slots=True)
class Verdict:
    """What became of the accepted tasks. Anything in `problems` makes the schedule a failure."""

    tasks: int
    lost: list[str] = field(default_factory=list)
    """Accepted, and neither in LEDGER nor in TASKS."""
    recorded_twice: list[str] = field(default_factory=list)
    """More than one terminal entry in LEDGER."""
    not_terminal: list[str] = field(default_factory=list)
    """Known, but without a terminal entry when time was up."""
    ends: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    interrupted: int = 0
    """Executions that ended with their process."""
    run_again: int = 0
    """Tasks that ran to a handler's end more than once; only one of the outcomes counts."""
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.all_faults()

    def all_faults(self) -> list[str]:
        """Everything that is wrong, a line each."""
        found = [f"lost: {task_id}" for task_id in self.lost]
        found += [f"recorded twice: {task_id}" for task_id in self.recorded_twice]
        found += [f"not terminal: {task_id}" for task_id in self.not_terminal]
        return found + self.problems


def judge(book: Book, executions: dict[str, Execution], waiting: set[str]) -> Verdict:
    """The verdict; `waiting` are the tasks that TASKS still holds."""
    verdict = Verdict(len(book.accepted), executions=len(executions))
    verdict.problems += [f"task {task_id} is still in TASKS" for task_id in sorted(waiting)]
    verdict.problems += book.unreadable
    for task_id in sorted(book.accepted.keys() | book.records.keys()):
        _judge_task(verdict, task_id, book, executions, is_waiting=task_id in waiting)
    _judge_executions(verdict, book, executions)
    return verdict


def _judge_task(
    verdict: Verdict, task_id: str, book: Book, executions: dict[str, Execution], *, is_waiting: bool
) -> None:
    records = book.records.get(task_id, [])
    terminal = [record for record in records if record.entry.type in TERMINAL_TYPES]
    story = fold_story(task_id, records)
    verdict.problems += [f"task {task_id}: the fold ignores {why}" for why in story.ignored]
    if not records and not is_waiting:
        verdict.lost.append(task_id)
    elif not terminal:
        verdict.not_terminal.append(task_id)
    elif len(terminal) > 1:
        verdict.recorded_twice.append(task_id)
    if terminal:
        verdict.ends[terminal[0].entry.type] += 1
        _judge_end(verdict, terminal[0], executions)


def _judge_end(verdict: Verdict, record: Record, executions: dict[str, Execution]) -> None:
    entry = record.entry
    if not isinstance(entry, Succeeded):
        verdict.problems.append(f"task {entry.task_id} ended as {entry.type}: {entry}")
        return
    result = entry.result if isinstance(entry.result, dict) else {}
    run = executions.get(str(result.get("execution")))
    said = (run.task_id, run.attempt, run.agent_id) if run is not None and run.is_finished else None
    if said != (entry.task_id, entry.attempt, entry.agent_id):
        verdict.problems.append(f"task {entry.task_id}: no handler wrote down what LEDGER calls its result")


def _judge_executions(verdict: Verdict, book: Book, executions: dict[str, Execution]) -> None:
    issued = {
        record.seq: record.entry
        for records in book.records.values()
        for record in records
        if isinstance(record.entry, Assigned)
    }
    finished: Counter[str] = Counter()
    for run in executions.values():
        verdict.interrupted += run.closed_at is None
        finished[run.task_id] += run.is_finished
        given = issued.get(run.epoch)
        if given is None or (given.task_id, given.agent_id) != (run.task_id, run.agent_id):
            verdict.problems.append(f"task {run.task_id} ran on {run.agent_id} and LEDGER gave it to nobody")
    verdict.run_again = sum(count > 1 for count in finished.values())
