"""`outrider group submit|show|wait|cancel`: many tasks as one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK, UsageError
from outrider.cli.given import json_of, text_of
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, table, task_object
from outrider.cli.parser import Commands, Parser, add_command, positive

if TYPE_CHECKING:
    from outrider.client import Client, Group

LINES = """Each line of the file is the payload of one task, as JSON. The same name again is the same group:
what was accepted already is not submitted twice."""


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands, "group", "submit many tasks as one, follow and cancel them", "outrider group show G"
    )
    inner = parser.add_subparsers(metavar="submit|show|wait|cancel", required=True, parser_class=Parser)
    example = "outrider group submit summarize --lines articles.jsonl --name import-7 --hook report"
    made = add_command(inner, "submit", "submit a group", example, text=LINES)
    made.add_argument("kind", metavar="KIND")
    made.add_argument("--lines", metavar="FILE|-", required=True, help="one payload a line, - for stdin")
    made.add_argument("--name", metavar="GROUP", help="its name (default: a new one)")
    made.add_argument("--hook", metavar="KIND", help="a task to run once after all have ended")
    made.add_argument("--hook-data", metavar="JSON", default="{}", help="its payload (default {})")
    made.set_defaults(run=lambda options: run_interruptibly(_submit(options)))
    for name, summary, work in (
        ("show", "show how far a group is", _show),
        ("wait", "wait until all tasks of a group have ended", _wait),
        ("cancel", "end all tasks of a group and its hook", _cancel),
    ):
        command = add_command(inner, name, summary, f"outrider group {name} import-7 --json")
        command.add_argument("group", metavar="GROUP")
        if name == "wait":
            command.add_argument(
                "--within", metavar="SECONDS", type=positive, help="at most so long (exit 124)"
            )
        if name == "cancel":
            command.add_argument("--reason", default="", help="why, for the ledger")
        command.set_defaults(run=lambda options, work=work: run_interruptibly(work(options)))


def _client(options: argparse.Namespace) -> Client:
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    return Client(settings=here.settings(), fleet=here.fleet, name="outrider group")


def _payloads(name: str) -> list[Any]:
    text = text_of(name, "--lines")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            found.append(json_of(line, f"line {number} of {name}"))
    if not found:
        raise UsageError(f"{name} holds no line")
    return found


async def _submit(options: argparse.Namespace) -> int:
    from outrider.client import NewTask  # noqa: PLC0415 - it brings NATS

    payloads = _payloads(options.lines)
    hook = NewTask(options.hook, json_of(options.hook_data, "--hook-data")) if options.hook else None
    async with _client(options) as client:
        tasks = [NewTask(options.kind, payload) for payload in payloads]
        group = await client.submit_many(tasks, options.name or True, hook)
    if hasattr(options, "json"):
        document({"group": group.group_id, "size": group.size})
    else:
        data(group.group_id)
    return OK


async def _show(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        await _tell(client, await client.group(options.group), options)
    return OK


async def _wait(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        group = await client.group(options.group)
        await group.ended(options.within)
        await _tell(client, group, options)
    return OK


async def _cancel(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        group = await client.group(options.group)
        await group.cancel(options.reason)
        await _tell(client, group, options)
    return OK


async def _tell(client: Client, group: Group, options: argparse.Namespace) -> None:
    from outrider.client import TaskNotFound  # noqa: PLC0415 - it brings NATS

    progress = await group.progress()
    try:
        hook = await client.get((await group.hook()).task_id)
    except TaskNotFound:
        hook = None
    if hasattr(options, "json"):
        document(
            {
                "group": progress.group,
                "size": progress.size,
                "ended": progress.ended,
                "is_over": progress.is_over,
                "states": progress.states,
                "hook": task_object(hook) if hook is not None else None,
            }
        )
        return
    rows = [("group", progress.group), ("ended", f"{progress.ended} of {progress.size}")]
    rows += [(state, str(count)) for state, count in sorted(progress.states.items())]
    if hook is not None:
        rows.append(("hook", f"{hook.task_id} is {hook.state.value}"))
    data(table(("", ""), rows).lstrip("\n"))
