"""`outrider task ls|get|watch|cancel`: what waits, runs and is done."""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import as_json, as_text, data, document, note, seconds, size, table, task_object
from outrider.cli.parser import Commands, Parser, add_command, count, count_from_0, positive

if TYPE_CHECKING:
    from outrider.broker.views import TaskView
    from outrider.client import Client

COLUMNS = ("TASK", "KIND", "STATE", "AGENT", "TRIES", "PREDICTED", "SERVICE", "AGE")
STATES = (
    "scheduled",
    "blocked",
    "queued",
    "assigned",
    "backing_off",
    "succeeded",
    "dead",
    "cancelled",
    "expired",
)


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "task", "look at tasks and cancel them", "outrider task ls --only dead")
    inner = parser.add_subparsers(metavar="ls|get|watch|cancel", required=True, parser_class=Parser)
    _add_list(inner)
    got = add_command(inner, "get", "show one task", "outrider task get TASK_ID --json")
    got.add_argument("task_id", metavar="TASK_ID")
    got.add_argument("--full", action="store_true", help="fetch a result that lies in the object store")
    got.set_defaults(run=lambda options: run_interruptibly(_get(options)))
    watch = add_command(
        inner,
        "watch",
        "follow one task to its end",
        "outrider task watch TASK_ID",
        text="Exits as submit --wait does.",
    )
    watch.add_argument("task_id", metavar="TASK_ID")
    watch.add_argument("--within", metavar="SECONDS", type=positive, help="wait at most so long (exit 124)")
    watch.add_argument(
        "--from-offset", metavar="N", type=count_from_0, default=0, help="begin at this piece of the output"
    )
    watch.set_defaults(run=lambda options: run_interruptibly(_watch(options)))
    cancel = add_command(
        inner, "cancel", "end one task now", "outrider task cancel TASK_ID --reason 'not needed'"
    )
    cancel.add_argument("task_id", metavar="TASK_ID")
    cancel.add_argument("--reason", default="", help="why, for the ledger")
    cancel.set_defaults(run=lambda options: run_interruptibly(_cancel(options)))


def _add_list(inner: Commands) -> None:
    parser = add_command(inner, "ls", "list tasks, newest first", "outrider task ls --only queued --limit 10")
    parser.add_argument("--only", choices=STATES, help="only tasks in this state")
    parser.add_argument("--limit", metavar="N", type=count, default=50, help="at most so many (default 50)")
    parser.add_argument("--group", metavar="GROUP", help="only tasks of this group, in their order")
    parser.set_defaults(run=lambda options: run_interruptibly(_list(options)))


def _client(options: argparse.Namespace) -> Client:
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    return Client(settings=here.settings(), fleet=here.fleet, name="outrider task")


async def _list(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        if options.group:
            views = await _of_group(client, options)
        else:
            views = await client.tasks(options.only, options.limit)
    if hasattr(options, "json"):
        document({"tasks": [task_object(view) for view in views]})
    elif views:
        data(
            table(
                ("TASK", "KIND", "STATE", "AGENT", "TRIES", "PREDICTED", "SERVICE", "AGE"), map(_row, views)
            )
        )
    else:
        note("no tasks")
    return OK


async def _of_group(client: Client, options: argparse.Namespace) -> list[TaskView]:
    views = (await client.group(options.group)).views()
    return [view for view in views if options.only in (None, view.state.value)][: options.limit]


def _row(view: TaskView) -> tuple[str, ...]:
    age_s = time.time() - view.submitted_at if view.submitted_at else None
    return (
        view.task_id,
        view.kind,
        view.state.value,
        view.agent or "-",
        str(view.attempts),
        seconds(view.predicted_s),
        seconds(view.service_s),
        seconds(age_s),
    )


async def _get(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        view = await client.get(options.task_id)
        if options.full and view.result_ref is not None:
            view = replace(view, result=await client.fetch(view.result_ref))
    show(view, is_json=hasattr(options, "json"))
    return OK


def show(view: TaskView, *, is_json: bool) -> None:
    """Print one task, for people or as a document."""
    if is_json:
        document(task_object(view))
        return
    shown = {"why this agent": view.reason, "model": view.model, **task_object(view)}
    lines = [("task", shown.pop("task_id")), *shown.items()]
    data(
        table(("", ""), [(name, _cell(name, value)) for name, value in lines if value is not None]).lstrip(
            "\n"
        )
    )


def _cell(name: str, value: object) -> str:
    if name.endswith("_s") and isinstance(value, float):
        return seconds(value)
    if name.endswith("_ref") and isinstance(value, dict):
        return f"{size(value['size'])} in the object store: {value['sha256']}"
    if name == "run_at" and isinstance(value, float):
        return datetime.fromtimestamp(value).astimezone().isoformat(" ", "seconds")
    if name == "after" and isinstance(value, tuple):
        return ", ".join(value)
    return as_text(value) if name == "result" else value if isinstance(value, str) else as_json(value)


async def _watch(options: argparse.Namespace) -> int:
    from outrider.cli.following import follow  # noqa: PLC0415

    async with _client(options) as client:
        task = await client.task(options.task_id)
        is_json = hasattr(options, "json")
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(_tell_states(client, options.task_id))
            try:
                return await follow(
                    task,
                    is_json=is_json,
                    is_streamed=True,
                    within_s=options.within,
                    from_offset=options.from_offset,
                )
            finally:
                telling.cancel()


async def _tell_states(client: Client, task_id: str) -> None:
    """One line on stderr for each durable change."""
    from contextlib import aclosing  # noqa: PLC0415

    async with aclosing((await client.task(task_id)).states()) as views:
        async for view in views:
            by = f" by {view.agent}, attempt {view.attempts}" if view.agent else ""
            predicted = f", predicted {seconds(view.predicted_s)}" if view.predicted_s is not None else ""
            note(f"{view.kind} {view.task_id} is {view.state.value}{by}{predicted}")


async def _cancel(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        view = await client.cancel(options.task_id, options.reason)
    if hasattr(options, "json"):
        document(task_object(view))
    else:
        data(f"{view.task_id} is {view.state.value}")
    return OK
