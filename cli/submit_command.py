"""`outrider submit`: one task from the command line, and with `--wait` or `--stream` its end."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK, UsageError
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, task_object
from outrider.cli.parser import Commands, add_command, count, names, positive

TEXT = """The payload is JSON: on the command line, in a file (@file) or on stdin (-).
Without --wait it prints the task id as soon as the task is durably accepted."""


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "submit",
        "submit one task",
        "outrider submit summarize --data @article.json --wait --json",
        text=TEXT,
    )
    parser.add_argument("kind", metavar="KIND", help="what sort of work, such as chat")
    parser.add_argument("--data", metavar="JSON|@FILE|-", default="{}", help="the payload (default {})")
    parser.add_argument("--wait", action="store_true", help="wait for the end and print the result")
    parser.add_argument("--stream", action="store_true", help="print the output as it comes, and wait")
    parser.add_argument("--within", metavar="SECONDS", type=positive, help="wait at most so long (exit 124)")
    parser.add_argument("--priority", metavar="0-9", type=int, default=5, help="0 is first (default 5)")
    parser.add_argument("--deadline", metavar="SECONDS", type=positive, help="to be done in so long from now")
    parser.add_argument("--timeout", metavar="SECONDS", type=positive, help="longest time of one attempt")
    parser.add_argument("--max-attempts", metavar="N", type=count, default=3, help="tries in all (default 3)")
    parser.add_argument(
        "--requires", metavar="L,...", type=names, default=(), help="labels the agent must have"
    )
    parser.add_argument("--key", help="idempotency key: the same key again is the same task")
    parser.set_defaults(run=run)


def payload_from(text: str) -> Any:
    """The payload that `--data` names. Raises UsageError that says what is wrong where."""
    if text == "-":
        body, where = sys.stdin.read(), "stdin"
    elif text.startswith("@"):
        where = text[1:]
        try:
            body = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--data cannot be read: {error}") from None
    else:
        body, where = text, "--data"
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{where} is not JSON: {error}", hint="""for example --data '{"prompt": "hi"}'"""
        ) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def run(options: argparse.Namespace) -> int:
    return run_interruptibly(_submit(options, payload_from(options.data)))


async def _submit(options: argparse.Namespace, payload: Any) -> int:
    from outrider.cli.following import follow  # noqa: PLC0415
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    async with Client(settings=here.settings(), fleet=here.fleet, name="outrider submit") as client:
        task = await client.submit(
            options.kind,
            payload,
            priority=options.priority,
            deadline_s=options.deadline,
            timeout_s=options.timeout,
            max_attempts=options.max_attempts,
            requires=options.requires,
            key=options.key,
        )
        if task.warning:
            note(task.warning)
        is_json = hasattr(options, "json")
        if options.wait or options.stream or options.within:
            return await follow(task, is_json=is_json, is_streamed=options.stream, within_s=options.within)
        if is_json:
            document(task_object(await client.get(task.task_id)))
        else:
            data(task.task_id)
    return OK
