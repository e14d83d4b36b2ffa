"""`outrider schedule ls|rm`: what starts later, and what starts again and again."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import TYPE_CHECKING

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, table
from outrider.cli.parser import Commands, Parser, add_command, count

if TYPE_CHECKING:
    from outrider.client import Client, ScheduleView

COLUMNS = ("SCHEDULE", "KIND", "PATTERN", "ZONE", "NEXT")


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "schedule",
        "list and remove schedules",
        "outrider schedule ls",
        text="outrider submit --cron makes one; --delay and --at make one that fires once.",
    )
    inner = parser.add_subparsers(metavar="ls|rm", required=True, parser_class=Parser)
    listed = add_command(
        inner, "ls", "list schedules and delayed tasks, the soonest first", "outrider schedule ls"
    )
    listed.add_argument("--limit", metavar="N", type=count, default=50, help="at most so many (default 50)")
    listed.set_defaults(run=lambda options: run_interruptibly(_list(options)))
    removed = add_command(inner, "rm", "remove one schedule", "outrider schedule rm SCHEDULE_ID")
    removed.add_argument("schedule_id", metavar="SCHEDULE_ID")
    removed.set_defaults(run=lambda options: run_interruptibly(_remove(options)))


def _client(options: argparse.Namespace) -> Client:
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    return Client(settings=here.settings(), fleet=here.fleet, name="outrider schedule")


async def _list(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        views = await client.schedules(options.limit)
    if hasattr(options, "json"):
        document({"schedules": [view.as_map() for view in views]})
    elif views:
        data(table(COLUMNS, map(_row, views)))
    else:
        note("no schedules")
    return OK


def _row(view: ScheduleView) -> tuple[str, ...]:
    next_at = "-"
    if view.next_at is not None:
        next_at = datetime.fromtimestamp(view.next_at).astimezone().isoformat(sep=" ", timespec="seconds")
    zone = (view.time_zone or "UTC") if view.cron else "-"
    return view.schedule_id, view.kind, view.cron or "once", zone, next_at


async def _remove(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        view = await client.unschedule(options.schedule_id)
    if hasattr(options, "json"):
        document({"schedule_id": view.task_id, "removed": True})
    else:
        data(f"{view.task_id} is removed")
    return OK
