"""What the demo shows: who does what while it streams, and a table at the end. Sends nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import TextIO

from outrider.broker.messages import ChunkType
from outrider.broker.states import TaskState
from outrider.broker.views import TaskView
from outrider.cli.output import as_text, seconds, table
from outrider.client import Task

LINE = 72


class Report:
    """Prints the story of the demo's tasks to one stream, line by line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, text: str = "") -> None:
        self._out.write(text + "\n")
        self._out.flush()

    async def tell(self, label: str, task: Task) -> TaskView:
        """Print the assignment, the output and the end of one task; returns its end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_output(label, task))
            group.create_task(self._tell_assignments(label, task))
        view = await task.ended()
        if view.state is TaskState.SUCCEEDED:
            took = f"{seconds(view.service_s)} (predicted {seconds(view.predicted_s)})"
            self.say(f"{label:<13} == {view.agent:<8} done in {took}")
        else:
            why = (view.error or {}).get("message", "")
            self.say(f"{label:<13} !! {view.state.value}: {why}")
        return view

    async def _tell_assignments(self, label: str, task: Task) -> None:
        async with aclosing(task.states()) as views:
            async for view in views:
                if view.state is TaskState.ASSIGNED:
                    predicted = f"predicted {seconds(view.predicted_s)}, {view.reason}"
                    self.say(f"{label:<13} -> {view.agent:<8} {predicted}")

    async def _tell_output(self, label: str, task: Task) -> None:
        """Print the pieces as they come, in whole lines."""
        text = ""
        async with aclosing(task.chunks()) as pieces:
            async for piece in pieces:
                if piece.type is ChunkType.OUTPUT:
                    text = self._print_full_lines(label, text + as_text(piece.data).replace("\n", " "))
        if text.strip():
            self.say(f"{label:<13}  | {text.strip()}")

    def _print_full_lines(self, label: str, text: str) -> str:
        while len(text) > LINE:
            end = text.rfind(" ", 1, LINE)
            end = end if end > 0 else LINE
            self.say(f"{label:<13}  | {text[:end].strip()}")
            text = text[end:]
        return text

    def summary(self, labels: list[str], views: list[TaskView]) -> None:
        """The table of all tasks and one line over all."""
        head = ("TASK", "AGENT", "STATE", "PREDICTED", "ACTUAL", "WAITED", "IN ALL", "WHY THIS AGENT")
        self.say()
        self.say(table(head, [_row(label, view) for label, view in zip(labels, views, strict=True)]))
        done = sum(view.state is TaskState.SUCCEEDED for view in views)
        reasons = Counter(view.reason for view in views if view.reason)
        chosen = ", ".join(f"{reason} {times}" for reason, times in reasons.most_common())
        self.say()
        self.say(f"{done} of {len(views)} tasks succeeded; agents chosen by: {chosen or 'nobody'}")


def _row(label: str, view: TaskView) -> tuple[str, ...]:
    return (
        label,
        view.agent or "-",
        view.state.value,
        seconds(view.predicted_s),
        seconds(view.service_s),
        seconds(view.waiting_s),
        seconds(view.sojourn_s),
        view.reason or "-",
    )
