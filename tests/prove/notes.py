"""What the handlers wrote down, read back: every execution, who ran it, and whether it came to its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Execution:
    """One run of a handler. `closed_at` is None when it was interrupted by the death of its process."""

    name: str
    task_id: str
    attempt: int
    epoch: int
    agent_id: str
    pid: int
    started_at: float
    closed_at: float | None = None
    is_finished: bool = False

    def runs_at(self, at: float) -> bool:
        return self.started_at <= at and (self.closed_at is None or self.closed_at > at)


def read_executions(files: Iterable[Path]) -> dict[str, Execution]:
    """Every execution by its name; a file that does not exist yet has none."""
    found: dict[str, Execution] = {}
    for file in files:
        if not file.exists():
            continue
        for line in file.read_text().splitlines():
            _read(found, line.split())
    return found


def _read(found: dict[str, Execution], words: list[str]) -> None:
    what, name, at = words[0], words[1], float(words[2])
    if what == "start":
        task_id, attempt, epoch, agent_id, pid = words[3:]
        found[name] = Execution(name, task_id, int(attempt), int(epoch), agent_id, int(pid), at)
        return
    found[name].closed_at = at
    found[name].is_finished = what == "end"
