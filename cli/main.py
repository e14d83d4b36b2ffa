"""The `outrider` command: reads the command line, runs one command, and turns errors into exit codes.

Imports only what reading the command line needs; each command imports its part when it runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from outrider.broker.errors import OutriderError
from outrider.cli import (
    agent_commands,
    dead_commands,
    decode_command,
    demo,
    doctor,
    estimate_command,
    group_commands,
    ledger_commands,
    limit_commands,
    part_commands,
    pause_commands,
    schedule_commands,
    stress,
    submit_command,
    task_commands,
    up,
    version_command,
)
from outrider.cli.exit_codes import FAILURE, INTERRUPTED, USAGE, exit_code
from outrider.cli.output import OutputLost, complain, note
from outrider.cli.parser import Parser, global_options

DESCRIPTION = "Runs a fleet of AI agents over NATS: each task goes to the agent predicted to finish it first."
EXAMPLES = """examples:
  outrider demo                                      see it work, with real agents
  outrider up                                        run all parts in this terminal
  outrider submit chat --data '{"prompt": "hi"}' --stream
  outrider task ls                                   what waits, runs and is done

Every command has its own help: outrider submit --help. docs/cli.md lists the exit codes."""
MODULES = (
    up,
    demo,
    part_commands,
    agent_commands,
    submit_command,
    estimate_command,
    task_commands,
    dead_commands,
    pause_commands,
    group_commands,
    ledger_commands,
    schedule_commands,
    limit_commands,
    decode_command,
    doctor,
    version_command,
    stress,
)


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(prog="outrider", description=DESCRIPTION, epilog=EXAMPLES, parents=[global_options()])
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", dest="command")
    for module in MODULES:
        module.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _replace_closed_streams()
    logging.basicConfig(level=logging.ERROR, format="outrider: %(message)s", stream=sys.stderr)
    try:
        return _told(arguments, is_json="--json" in arguments)
    except BrokenPipeError:
        # Whoever read the output has enough.
        _drop_output()
    except OutputLost as error:
        note(str(error))
        _drop_output()
    return FAILURE


def _told(arguments: list[str], *, is_json: bool) -> int:
    """Run it and tell what went wrong. Raises BrokenPipeError or OutputLost when there is nobody to tell."""
    try:
        return _run(arguments)
    except OutriderError as error:
        complain(error, is_json=is_json)
        return exit_code(error)
    except ExceptionGroup as group:
        return _several(group, is_json=is_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        note("interrupted")
        return INTERRUPTED


def _replace_closed_streams() -> None:
    """Python has None in place of a stream that was closed before it started."""
    nowhere = os.devnull
    sys.stdin = sys.stdin or Path(nowhere).open(encoding="utf-8")  # noqa: SIM115 - as long as the program
    sys.stdout = sys.stdout or Path(nowhere).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(nowhere).open("w", encoding="utf-8")  # noqa: SIM115


def _drop_output() -> None:
    """Python must not complain at exit of what it could not write."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _run(arguments: list[str]) -> int:
    parser = build_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit:
        # argparse wrote the help: whether anybody reads it must show before Python ends.
        sys.stdout.flush()
        raise
    if options.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    code: int = options.run(options)
    sys.stdout.flush()
    return code


def _several(group: ExceptionGroup[Exception], *, is_json: bool) -> int:
    known = group.subgroup((OutriderError, BrokenPipeError, OutputLost))
    if known is None:
        raise group
    error: BaseException = known
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, OutriderError):
        raise error
    complain(error, is_json=is_json)
    return exit_code(error)
