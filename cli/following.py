"""Follows one task to its end for `submit --wait` and `task watch`: its output, its result, its exit code."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Any, TextIO

from outrider.broker.errors import TaskEnded, TimedOut
from outrider.broker.messages import ChunkType
from outrider.broker.views import TaskView
from outrider.cli.estimate_command import estimate_object
from outrider.cli.exit_codes import OK, exit_code
from outrider.cli.output import as_json, as_text, data, document, note, task_object
from outrider.client import Task


async def follow(
    task: Task, *, is_json: bool, is_streamed: bool, within_s: float | None, from_offset: int = 0
) -> int:
    """Wait for the end and print it; output goes to stderr when stdout is for a document.

    Raises TimedOut, TaskDead, TaskCancelled or TaskExpired.
    """
    try:
        async with asyncio.timeout(within_s):
            is_shown = await _print_output(task, from_offset, is_json=is_json) if is_streamed else False
            view = await task.ended()
    except TimeoutError:
        raise TimedOut(
            f"task {task.task_id} did not end within {within_s:g} s",
            hint=f"outrider task watch {task.task_id}",
        ) from None
    except asyncio.CancelledError:
        note(f"task {task.task_id} goes on: outrider task watch {task.task_id}")
        raise
    return await show_end(task, view, is_json=is_json, is_shown=is_shown)


async def show_end(task: Task, view: TaskView, *, is_json: bool, is_shown: bool) -> int:
    """Print the whole result, or the document; returns the exit code of the task's state."""
    try:
        result = await task.whole_result(view)
    except TaskEnded as error:
        if not is_json:
            raise
        document(task_object(view) | eta_object(task))
        return exit_code(error)
    if is_json:
        document(task_object(view) | {"result": result} | eta_object(task))
    elif not is_shown:
        data(as_text(result))
    return OK


def eta_object(task: Task) -> dict[str, Any]:
    """What was expected of the task at its submission, if somebody asked."""
    return {} if task.eta is None else {"eta": estimate_object(task.eta)}


async def _print_output(task: Task, from_offset: int, *, is_json: bool) -> bool:
    """Print pieces as they come; tells whether there were any."""
    out = sys.stderr if is_json else sys.stdout
    attempt = 0
    async with aclosing(task.chunks(from_offset)) as pieces:
        async for piece in pieces:
            if attempt and piece.attempt != attempt:
                _write(out, "\n")
                note(f"attempt {piece.attempt} instead of attempt {attempt}, from its start")
            attempt = piece.attempt
            if piece.type is ChunkType.PROGRESS:
                note(f"{(piece.progress or 0) * 100:.0f} % done")
            else:
                _write(out, piece.data)
    if attempt:
        _write(out, "\n")
    return bool(attempt)


def _write(out: TextIO, piece: object) -> None:
    text = piece if isinstance(piece, str) else as_json(piece) + "\n"
    if out is sys.stdout:
        data(text, end="")
        return
    out.write(text)
    out.flush()
