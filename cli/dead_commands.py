"""`outrider dead ls|show|requeue|discard`: tasks that failed for good, and what shall become of them."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import FAILURE, OK, UsageError
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import as_json, data, document, note, seconds, table, task_object
from outrider.cli.parser import Commands, Parser, add_command, age, count

if TYPE_CHECKING:
    from outrider.broker.letters import DeadLetter, LetterList
    from outrider.client import Client, LetterFilter, LetterStory

COLUMNS = ("TASK", "KIND", "CLASS", "TRIES", "DIED", "REASON")
SHOWN_REASON = 60


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands, "dead", "look at dead tasks, requeue or discard them", "outrider dead ls --kind chat"
    )
    inner = parser.add_subparsers(metavar="ls|show|requeue|discard", required=True, parser_class=Parser)
    listing = add_command(inner, "ls", "list dead tasks, newest first", "outrider dead ls --class quota")
    _add_filter(listing)
    listing.add_argument("--limit", metavar="N", type=count, default=50, help="at most so many (default 50)")
    listing.set_defaults(run=lambda options: run_interruptibly(_list(options)))
    show = add_command(inner, "show", "show one with its whole story", "outrider dead show TASK_ID")
    show.add_argument("task_id", metavar="TASK_ID")
    show.set_defaults(run=lambda options: run_interruptibly(_show(options)))
    _add_deed(inner, "requeue", "do dead tasks again, as new tasks", "outrider dead requeue --class provider")
    _add_deed(inner, "discard", "have dead tasks listed no more", "outrider dead discard --older-than 7d")


def _add_deed(inner: Commands, name: str, summary: str, example: str) -> None:
    text = "One by its id, or all that fit the filter; --all without a filter means every one."
    parser = add_command(inner, name, summary, example, text=text)
    parser.add_argument("task_id", metavar="TASK_ID", nargs="?", default="")
    parser.add_argument("--all", action="store_true", help="all that are listed")
    _add_filter(parser)
    parser.add_argument("--dry-run", action="store_true", help="only tell which it would be")
    parser.add_argument("--reason", default="", help="why, for the ledger")
    parser.set_defaults(run=lambda options: run_interruptibly(_deal(options, name)))


def _add_filter(parser: Parser) -> None:
    parser.add_argument("--kind", default="", help="only this kind")
    parser.add_argument(
        "--class", dest="error_class", metavar="CLASS", default="", help="only this error class, as poison"
    )
    for name, what in (("older", "longer"), ("newer", "less long")):
        parser.add_argument(
            f"--{name}-than", metavar="AGE", type=age, help=f"dead for {what}: 30, 90s, 15m, 2h, 7d"
        )


def _client(options: argparse.Namespace) -> Client:
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    return Client(settings=here.settings(), fleet=here.fleet, name="outrider dead")


def _filter(options: argparse.Namespace) -> LetterFilter:
    from outrider.client import LetterFilter  # noqa: PLC0415

    return LetterFilter(options.kind, options.error_class, options.older_than, options.newer_than)


async def _list(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        letters = await client.dead_letters(_filter(options), options.limit)
    if hasattr(options, "json"):
        document({"dead": [letter_object(letter) for letter in letters]})
    elif letters:
        data(table(COLUMNS, map(_row, letters)))
    else:
        note("no dead tasks")
    return OK


def letter_object(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as every `--json` shows it."""
    names = ("task_id", "kind", "error_class", "reason", "attempts", "died_at", "dead_seq")
    shown = {name: getattr(letter, name) for name in names}
    return shown | {"requeued_as": letter.requeued_as, "error": letter.error}


def _row(letter: DeadLetter) -> tuple[str, ...]:
    reason = letter.reason if len(letter.reason) <= SHOWN_REASON else letter.reason[: SHOWN_REASON - 1] + "…"
    return (
        letter.task_id,
        letter.kind,
        letter.error_class,
        str(letter.attempts),
        f"{seconds(max(0.0, time.time() - letter.died_at))} ago",
        " ".join(reason.split()),
    )


async def _show(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        found = await client.dead_letter(options.task_id)
    if hasattr(options, "json"):
        document(_story_object(found))
    else:
        _tell_story(found)
    return OK


def _story_object(found: LetterStory) -> dict[str, Any]:
    entries = [
        {"seq": e.seq, "stored_at": e.stored_at, "role": e.role, "writer": e.writer, **e.entry}
        for e in found.entries
    ]
    task = task_object(found.view) | {"payload": found.payload}
    return letter_object(found.letter) | {"task": task, "story": entries}


def _tell_story(found: LetterStory) -> None:
    letter = found.letter
    data(f"{letter.task_id}  {letter.kind}  dead: {letter.error_class}, {letter.reason}")
    data(f"payload  {as_json(found.payload)}")
    began_at = found.entries[0].stored_at if found.entries else 0.0
    for entry in found.entries:
        after = f"+{seconds(max(0.0, entry.stored_at - began_at))}"
        data(f"{entry.seq:>8}  {after:>8}  {entry.entry['type']:<10} {_told(entry.entry)}")


def _told(entry: dict[str, Any]) -> str:
    """What a person wants to know of one entry."""
    error = entry.get("error") or {}
    parts = (
        f"attempt {entry['attempt']}" if "attempt" in entry else "",
        f"on {entry['agent_id']}" if "agent_id" in entry else "",
        f"{error['error_class']}: {error['message']}" if error else "",
        str(entry.get("why", "")),
        str(entry.get("reason", "")),
        f"after {seconds(entry['service_s'])}" if entry.get("service_s") else "",
    )
    return ", ".join(part for part in parts if part)


async def _deal(options: argparse.Namespace, deed: str) -> int:
    has_filter = any((options.kind, options.error_class, options.older_than, options.newer_than))
    if bool(options.task_id) == (options.all or has_filter):
        raise UsageError(f"{deed} what? give a TASK_ID, a filter, or --all", hint="outrider dead ls")
    async with _client(options) as client:
        work = client.requeue if deed == "requeue" else client.discard
        which = options.task_id or _filter(options)
        answer = await work(which, dry_run=options.dry_run, reason=options.reason)
    failed = [letter for letter in answer.letters if letter.error is not None]
    if hasattr(options, "json"):
        document(_answer_object(answer, deed))
    else:
        _tell(answer, deed)
    return FAILURE if failed else OK


def _answer_object(answer: LetterList, deed: str) -> dict[str, Any]:
    done = [letter_object(letter) for letter in answer.letters]
    return {"action": deed, "dry_run": answer.dry_run, "matched": answer.matched, "dead": done}


def _tell(answer: LetterList, deed: str) -> None:
    done = f"{deed}ed".replace("eed", "ed")
    for letter in answer.letters:
        if letter.error is not None:
            note(f"{letter.task_id} is not {done}: {letter.error['message']}")
        elif answer.dry_run:
            data(f"{letter.task_id} would be {done}")
        else:
            data(f"{letter.task_id} is {done}" + (f" as {letter.requeued_as}" if letter.requeued_as else ""))
    if not answer.letters:
        note("no dead task fits")
    if answer.unlisted:
        note(f"{answer.unlisted} older ones are not listed any more: {deed} them by id")
