"""`outrider pause` and `outrider resume`: hold back a kind or the whole fleet, and let it go on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK, UsageError
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document
from outrider.cli.parser import Commands, add_command

if TYPE_CHECKING:
    from outrider.broker.pausing import PauseState


def add_to(commands: Commands) -> None:
    pause = add_command(
        commands,
        "pause",
        "start no more tasks of a kind, or of any",
        "outrider pause chat --reason 'provider is down'",
        text="What runs goes on, what is submitted waits. Without KIND and --all it tells what is paused.",
    )
    resume = add_command(
        commands,
        "resume",
        "let a paused kind go on, or all",
        "outrider resume chat",
        text="With --all nothing is paused afterwards, whatever was paused by name.",
    )
    for parser, verb in ((pause, "pause"), (resume, "resume")):
        parser.add_argument("kind", metavar="KIND", nargs="?")
        parser.add_argument("--all", action="store_true", help="the whole fleet")
        parser.add_argument("--reason", default="", help="why, for the ledger")
        parser.set_defaults(run=lambda options, verb=verb: run_interruptibly(_switch(options, verb)))


async def _switch(options: argparse.Namespace, verb: str) -> int:
    from outrider.broker.pausing import PauseState  # noqa: PLC0415
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    if options.kind and options.all:
        raise UsageError("a KIND and --all exclude each other", hint=f"outrider {verb} --help")
    if verb == "resume" and not (options.kind or options.all):
        raise UsageError("resume what? give a KIND or --all", hint="outrider pause tells what is paused")
    here = surroundings(options)
    async with Client(settings=here.settings(), fleet=here.fleet, name=f"outrider {verb}") as client:
        if not (options.kind or options.all):
            stats = await client.stats()
            state = PauseState(stats.is_paused, stats.paused_kinds)
        else:
            work = client.pause if verb == "pause" else client.resume
            state = await work(options.kind, options.reason)
    if hasattr(options, "json"):
        document({"all": state.all, "kinds": list(state.kinds)})
    else:
        data(_told(state))
    return OK


def _told(state: PauseState) -> str:
    kinds = ", ".join(state.kinds)
    if state.all:
        return "the whole fleet is paused" + (f", and by name: {kinds}" if kinds else "")
    return f"paused: {kinds}" if kinds else "nothing is paused"
