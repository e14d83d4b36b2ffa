"""`outrider submit`: one task from the command line, and with `--wait` or `--stream` its end."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from outrider.cli.config import surroundings
from outrider.cli.estimate_command import in_words
from outrider.cli.exit_codes import OK, UsageError
from outrider.cli.given import payload_from
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, task_object
from outrider.cli.parser import Commands, Parser, add_command, count, duration, instant, names, positive

if TYPE_CHECKING:
    from outrider.client import Client

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
    parser.add_argument("--limit-key", metavar="NAME", help="whose limits it counts against, as a tenant's")
    parser.add_argument(
        "--after",
        metavar="TASK_ID",
        action="append",
        default=[],
        help="start when this task has ended; again for more",
    )
    parser.add_argument(
        "--after-group", metavar="GROUP", help="start when all tasks of this group have ended"
    )
    parser.add_argument(
        "--on-failure",
        choices=("cancel", "run"),
        help="if one of those fails: cancel (default), or run all the same",
    )
    parser.add_argument(
        "--hedge", action="store_true", help="a second agent may run it too, if it is slow and one is idle"
    )
    _add_estimates(parser)
    _add_arrangements(parser)
    parser.set_defaults(run=run)


def _add_estimates(parser: Parser) -> None:
    parser.add_argument("--eta", action="store_true", help="say when it is predicted to finish")
    parser.add_argument(
        "--refuse-late", action="store_true", help="submit only if --deadline can be met (exit 4)"
    )


def _add_arrangements(parser: Parser) -> None:
    group = parser.add_argument_group("when, and instead of which")
    start = group.add_mutually_exclusive_group()
    start.add_argument("--delay", metavar="5m", type=duration, help="start so much later: 90, 5m, 2h, 1d")
    start.add_argument("--at", metavar="ISO", type=instant, help="start then: 2026-12-24T18:00:00+01:00")
    start.add_argument("--cron", metavar="PATTERN", help="a new task at each fire: '30 9 * * mon-fri'")
    start.add_argument(
        "--debounce", metavar="30s", type=duration, help="run the last one, after so long a quiet"
    )
    group.add_argument(
        "--tz", metavar="ZONE", help="time zone of --cron, such as Europe/Berlin (default UTC)"
    )
    group.add_argument("--debounce-key", metavar="KEY", help="which submits --debounce is about")
    group.add_argument("--unique", action="store_true", help="while the same task is open, that one is meant")
    group.add_argument("--unique-key", metavar="KEY", help="the same by a key instead of the payload")


def _arrangement(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "delay_s": options.delay,
        "run_at": options.at,
        "unique": options.unique or None,
        "unique_key": options.unique_key,
        "debounce_s": options.debounce,
        "debounce_key": options.debounce_key,
        "eta": options.eta or None,
        "refuse_late": options.refuse_late or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def run(options: argparse.Namespace) -> int:
    if options.cron is not None and (options.wait or options.stream or options.within):
        raise UsageError("--cron makes many tasks: there is no one to wait for", hint="outrider schedule ls")
    if options.cron is not None and (options.after or options.after_group is not None):
        raise UsageError("--cron makes many tasks: they cannot wait for others")
    if options.cron is not None and (
        options.unique or options.unique_key is not None or options.debounce_key is not None
    ):
        raise UsageError("--cron makes many tasks: it goes with neither --unique nor --debounce-key")
    if options.tz is not None and options.cron is None:
        raise UsageError("--tz goes with --cron", hint="--at takes an offset: 2026-12-24T18:00:00+01:00")
    if options.refuse_late and options.deadline is None:
        raise UsageError("--refuse-late goes with --deadline")
    if options.cron is not None and (options.eta or options.refuse_late):
        raise UsageError("--cron makes many tasks: an estimate is for one that starts now")
    return run_interruptibly(_submit(options, payload_from(options.data)))


async def _submit(options: argparse.Namespace, payload: Any) -> int:
    from outrider.cli.following import eta_object, follow  # noqa: PLC0415
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    async with Client(settings=here.settings(), fleet=here.fleet, name="outrider submit") as client:
        asked: dict[str, Any] = {
            "priority": options.priority,
            "deadline_s": options.deadline,
            "timeout_s": options.timeout,
            "max_attempts": options.max_attempts,
            "requires": options.requires,
            "key": options.key,
            "limit_key": options.limit_key,
            "hedge": options.hedge,
        }
        waits: dict[str, Any] = {"after": options.after, "on_failure": options.on_failure}
        if options.after_group is not None:
            waits["after_group"] = (await client.group(options.after_group)).ref
        if options.cron is not None:
            return await _schedule(client, options, payload, asked)
        task = await client.submit(options.kind, payload, **asked, **waits, **_arrangement(options))
        if task.eta is not None:
            note(in_words(task.eta))
        if task.warning:
            note(task.warning)
        is_json = hasattr(options, "json")
        if options.wait or options.stream or options.within:
            return await follow(task, is_json=is_json, is_streamed=options.stream, within_s=options.within)
        if is_json:
            document(task_object(await client.get(task.task_id)) | eta_object(task))
        else:
            data(task.task_id)
    return OK


async def _schedule(client: Client, options: argparse.Namespace, payload: Any, asked: dict[str, Any]) -> int:
    view = await client.schedule(options.kind, payload, cron=options.cron, time_zone=options.tz, **asked)
    if hasattr(options, "json"):
        document(view.as_map())
    else:
        data(view.schedule_id)
    return OK
