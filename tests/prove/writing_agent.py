"""An agent whose handler writes down by itself each start and each end: the witness beside the ledger.

Run with its name; its notes go to the file that OUTRIDER_PROVE_NOTES names, one write a line.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

from outrider.agents import Agent, Task, TaskError
from outrider.broker.states import ErrorClass
from tests.prove.passing import pass_time
from tests.prove.plan import KIND, SLOTS


class Notes:
    """Lines appended to a file by single writes, which a kill cannot take back."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def add(self, what: str, execution: str, *rest: object) -> None:
        line = " ".join(map(str, (what, execution, time.time(), *rest)))
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._file)


def writing_agent(name: str, notes: Notes, state: Path | None = None) -> Agent:
    """An agent of the kind that the proofs submit."""
    agent = Agent(name, slots=SLOTS, state=state)

    @agent.handles(KIND)
    async def work(task: Task) -> dict[str, Any]:
        execution = uuid.uuid4().hex
        notes.add("start", execution, task.task_id, task.attempt, task.epoch, name, os.getpid())
        try:
            await pass_time(task.payload["seconds"])
            if task.attempt <= task.payload["fails"]:
                raise TaskError(ErrorClass.HANDLER, "it fails once, as it was told", retryable=True)
        except BaseException:
            notes.add("cut", execution)
            raise
        notes.add("end", execution)
        return {"execution": execution}

    return agent


def main(name: str) -> None:
    writing_agent(name, Notes(Path(os.environ["OUTRIDER_PROVE_NOTES"]))).run()
