"""How command lines are read: one parser class, the options that every command has, help with examples."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from outrider.cli.exit_codes import UsageError

BELOW_0 = re.compile(r"-\d+(\.\d+)?[a-z]+")
AGE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
Commands = Any
"""What `add_subparsers` returns; argparse keeps its class private."""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are errors like all others."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        named.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        named.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **named)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but `--since -5h` gives the option -5h in place of taking that for an option."""
        return super().parse_known_args(None if args is None else _joined(args), namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help")


def _joined(args: Sequence[str]) -> list[str]:
    found: list[str] = []
    for arg in args:
        if BELOW_0.fullmatch(arg) and found and found[-1].startswith("--") and "--" not in found:
            found[-1] += f"={arg}"
        else:
            found.append(arg)
    return found


def global_options() -> argparse.ArgumentParser:
    """Options that stand before or after the command; one that is not given leaves no trace."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("global options")
    group.add_argument("--url", metavar="URL", help="NATS server, else NATS_URL, .env or the NATS context")
    group.add_argument("--fleet", metavar="NAME", help="fleet, else OUTRIDER_FLEET, else outrider")
    group.add_argument("--state", metavar="FOLDER", help="state folder, else OUTRIDER_STATE, else .outrider")
    group.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    return parser


def add_command(
    commands: Commands, name: str, summary: str, example: str, text: str = "", **named: Any
) -> Parser:
    """A command with the global options and an example under its help."""
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.{f' {text}' if text else ''}",
        epilog=f"example:\n  {example}",
        parents=[global_options()],
        **named,
    )
    return parser


def positive(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """Seconds, or a number with ms, s, m, h or d such as 5m, for argparse."""
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text.strip()[len(number) :] or "s"
    if unit not in UNITS:
        raise argparse.ArgumentTypeError(f"{text} is not a duration such as 90, 5m or 2h")
    value = float(number)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0; give a duration such as 90, 5m or 2h")
    return value * UNITS[unit]


def instant(text: str) -> float:
    """An ISO 8601 instant as seconds since 1970, for argparse; without an offset it is local time."""
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text} is not an instant such as 2026-12-24T18:00:00+01:00"
        ) from None


def count(text: str) -> int:
    """A whole number from 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return value


def count_from_0(text: str) -> int:
    """A whole number from 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0")
    return value


def age(text: str) -> float:
    """A duration in seconds, or with a unit as in 90s, 15m, 2h or 7d, for argparse."""
    unit = AGE_UNITS.get(text[-1:], 0.0)
    value = float(text[:-1]) * unit if unit else float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not an age")
    return value


def port(text: str) -> int:
    """A port number, 0 for any free one, for argparse."""
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port number")
    return value


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas, for argparse."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise argparse.ArgumentTypeError("no name given")
    return found


for _check, _shown in (
    (positive, "number"),
    (duration, "duration"),
    (count, "whole number"),
    (count_from_0, "whole number"),
    (age, "age"),
    (port, "port"),
):
    # argparse names the function in its message.
    _check.__name__ = _shown
