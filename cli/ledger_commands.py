"""`outrider ledger state|story`: what was so at any sequence of the ledger."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import as_json, data, document, table, task_object
from outrider.cli.parser import Commands, Parser, add_command, count

if TYPE_CHECKING:
    from outrider.broker.connection import Connection
    from outrider.broker.subjects import Subjects
    from outrider.ledger.fold import Story


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands, "ledger", "look at the past, at any sequence", "outrider ledger state --at 5000 --json"
    )
    inner = parser.add_subparsers(metavar="state|story", required=True, parser_class=Parser)
    state = add_command(
        inner,
        "state",
        "fold the ledger and show the hash of the state",
        "outrider ledger state --at 5000 --json",
        text="The same sequence gives the same hash, always, and that of the orchestrators' snapshots.",
    )
    state.add_argument("--at", metavar="SEQ", type=count, help="the sequence to stop at (default: the last)")
    state.add_argument("--whole", action="store_true", help="begin with the first entry, at no snapshot")
    state.set_defaults(run=lambda options: run_interruptibly(_state(options)))
    story = add_command(
        inner, "story", "show every entry of one task", "outrider ledger story TASK_ID --at 5000 --json"
    )
    story.add_argument("task_id", metavar="TASK_ID")
    story.add_argument("--at", metavar="SEQ", type=count, help="as it was at this sequence (default: now)")
    story.set_defaults(run=lambda options: run_interruptibly(_story(options)))


async def _open(options: argparse.Namespace) -> tuple[Connection, Subjects]:
    from outrider.broker.connection import Connection  # noqa: PLC0415 - it brings NATS
    from outrider.broker.subjects import Subjects  # noqa: PLC0415

    here = surroundings(options)
    return await Connection.open(here.settings(), "outrider ledger"), Subjects(here.fleet)


async def _state(options: argparse.Namespace) -> int:
    from outrider.ledger.archive import Archive  # noqa: PLC0415
    from outrider.ledger.replay import Replay, bounds  # noqa: PLC0415
    from outrider.ledger.state import Kept, LedgerState  # noqa: PLC0415

    connection, subjects = await _open(options)
    async with connection:
        first_seq, last_seq = await bounds(connection, subjects)
        seq = options.at or last_seq
        base = Kept() if options.whole else await Archive(connection, subjects).newest(seq)
        state = await Replay(connection, subjects, LedgerState(base)).to(seq)
    shown = {
        "seq": state.seq,
        "hash": state.digest,
        **state.counts(),
        "kept_entries": len(state.kept()),
        "snapshot": base.seq or None,
        "first_seq": first_seq,
        "last_seq": last_seq,
    }
    if hasattr(options, "json"):
        document(shown)
    else:
        data(table(("", ""), [(name, str(value)) for name, value in shown.items()]).lstrip("\n"))
    return OK


async def _story(options: argparse.Namespace) -> int:
    from outrider.broker.errors import TaskNotFound  # noqa: PLC0415
    from outrider.broker.subjects import check_name  # noqa: PLC0415
    from outrider.ledger.reader import LedgerReader, fold_stored  # noqa: PLC0415

    connection, subjects = await _open(options)
    task_id = check_name(options.task_id, "task_id")
    async with connection:
        stored = await LedgerReader(connection, subjects).stored(task_id)
    stored = [message for message in stored if options.at is None or message.seq <= options.at]
    if not stored:
        when = f" at sequence {options.at}" if options.at else ""
        raise TaskNotFound(f"the ledger has no entry of task {task_id!r}{when}")
    story = fold_stored(task_id, stored)
    entries = [_entry(message.seq, message.subject, message.data) for message in stored]
    if hasattr(options, "json"):
        ignored = list(story.ignored)
        document({"task": task_object(story.view()), "entries": entries, "ignored": ignored})
    else:
        data(_for_people(story, entries))
    return OK


def _entry(seq: int, subject: str, body: bytes) -> dict[str, Any]:
    from outrider.broker.codec import load  # noqa: PLC0415
    from outrider.broker.errors import OutriderError  # noqa: PLC0415

    try:
        value = load(body)
    except OutriderError as error:
        value = {"unreadable": error.message}
    return {"seq": seq, "subject": subject, "entry": value}


def _for_people(story: Story, entries: list[dict[str, Any]]) -> str:
    view = story.view()
    rows = [
        (str(e["seq"]), ".".join(e["subject"].split(".")[-2:]), as_json(_short(e["entry"]))) for e in entries
    ]
    return f"{view.task_id} is {view.state.value}\n{table(('SEQ', 'WRITER', 'ENTRY'), rows)}"


def _short(entry: Any) -> Any:
    """What a person wants on one line: no payload, no other candidates."""
    if not isinstance(entry, dict):
        return entry
    hidden = ("task_id", "envelope", "candidates", "facts", "v")
    return {name: value for name, value in entry.items() if name not in hidden}
