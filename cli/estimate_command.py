"""`outrider estimate`: when a task would finish, without submitting it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from outrider.broker.schema import to_map
from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.given import payload_from
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, seconds, table
from outrider.cli.parser import Commands, add_command, names, positive

if TYPE_CHECKING:
    from outrider.broker.estimates import Estimate

TEXT = """Predicted waiting behind the tasks that are there, and service on the best candidate.
Nothing is submitted."""
NULLS = ("p50_s", "p90_s", "waiting_s", "service_s", "agent", "can_meet", "deadline_s", "warning")


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "estimate",
        "say when a task would finish",
        "outrider estimate chat --data @task.json --deadline 30 --json",
        text=TEXT,
    )
    parser.add_argument("kind", metavar="KIND", help="what sort of work, such as chat")
    parser.add_argument("--data", metavar="JSON|@FILE|-", default="{}", help="the payload (default {})")
    parser.add_argument("--priority", metavar="0-9", type=int, default=5, help="0 is first (default 5)")
    parser.add_argument("--deadline", metavar="SECONDS", type=positive, help="say whether it can be met")
    parser.add_argument("--requires", metavar="L,...", type=names, default=(), help="labels of the agent")
    parser.add_argument("--limit-key", metavar="NAME", help="whose limits it counts against")
    parser.set_defaults(run=lambda options: run_interruptibly(_estimate(options, payload_from(options.data))))


async def _estimate(options: argparse.Namespace, payload: Any) -> int:
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    async with Client(settings=here.settings(), fleet=here.fleet, name="outrider estimate") as client:
        found = await client.estimate(
            options.kind,
            payload,
            priority=options.priority,
            deadline_s=options.deadline,
            requires=options.requires,
            limit_key=options.limit_key,
        )
    if hasattr(options, "json"):
        document(estimate_object(found))
        return OK
    data(in_words(found))
    if found.candidates:
        rows = [(c.agent_id, *map(seconds, (c.waiting_s, c.p50_s, c.p90_s))) for c in found.candidates]
        data(table(("CANDIDATE", "WAITING", "P50", "P90"), rows))
    for doubt in dict.fromkeys((found.about_deadline(), found.warning)):
        if doubt:
            note(doubt)
    return OK


def estimate_object(found: Estimate) -> dict[str, Any]:
    """An estimate as every `--json` shows it; what is not known is null."""
    return dict.fromkeys(NULLS) | to_map(found)


def in_words(found: Estimate) -> str:
    """An estimate on one line."""
    where = f"{found.ahead} ahead, {found.agents} agents, {found.slots} slots, by {found.basis.value}"
    if found.p50_s is None:
        return f"finish unknown ({where})"
    times = f"p50 {seconds(found.p50_s)}, p90 {seconds(found.p90_s)}"
    parts = f"waiting {seconds(found.waiting_s)}, service {seconds(found.service_s)}"
    return f"finish in {times} ({parts}; {where})"
