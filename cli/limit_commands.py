"""`outrider limit set|ls|rm`: how much of a kind, of a key, or of each key may run, start or spend."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from outrider.broker.schema import to_map
from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK, UsageError
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, table
from outrider.cli.parser import Commands, Parser, add_command, count

if TYPE_CHECKING:
    from outrider.broker.limits import LimitView
    from outrider.client import Client

TEXT = """A task counts against the limits of its kind and of its limit key (submit --limit-key).
Limits hold for the whole fleet and survive restarts."""
SET_TEXT = """Instead of whatever this kind and key had before.
--kind '*' is all kinds together (default). Without --key: all tasks of the kind. --key NAME: that key.
--key '*' or --key 'acme-*': each key that fits, for itself; a limit of its own goes before a pattern."""
PERIODS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
RATE = re.compile(r"(\d+)/(\d+(?:\.\d+)?)?(s|min|m|h|d)")


def rate(text: str) -> tuple[int, float]:
    """Starts in so many seconds, from text such as 5/s, 300/m or 10/30s, for argparse."""
    found = RATE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is not a rate such as 5/s, 300/m or 10/30s")
    return int(found[1]), float(found[2] or 1) * PERIODS[found[3]]


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "limit",
        "limit what runs, starts or spends",
        "outrider limit set --key '*' --concurrency 10",
        text=TEXT,
    )
    parser.set_defaults(run=_nothing_chosen)
    inner = parser.add_subparsers(metavar="set|ls|rm", parser_class=Parser)
    setting = add_command(
        inner,
        "set",
        "put a limit in force",
        "outrider limit set --kind chat --rate 300/m --tokens-per-minute 90000",
        text=SET_TEXT,
    )
    _name_options(setting)
    setting.add_argument("--concurrency", metavar="N", type=count, help="attempts at once")
    setting.add_argument("--rate", metavar="N/s|N/m", type=rate, help="attempts that may start in that time")
    setting.add_argument("--tokens-per-minute", metavar="N", type=count, help="tokens in any minute")
    setting.set_defaults(run=lambda options: run_interruptibly(_set(options)))
    listing = add_command(inner, "ls", "list limits and how they stand", "outrider limit ls --json")
    listing.set_defaults(run=lambda options: run_interruptibly(_list(options)))
    removing = add_command(inner, "rm", "take a limit back", "outrider limit rm --kind chat")
    _name_options(removing)
    removing.set_defaults(run=lambda options: run_interruptibly(_remove(options)))


def _name_options(parser: Parser) -> None:
    parser.add_argument(
        "--kind", metavar="KIND", default="*", help="a kind, or '*' (default) for all together"
    )
    parser.add_argument("--key", metavar="KEY", default="", help="a limit key, or a pattern such as '*'")


def _nothing_chosen(_: argparse.Namespace) -> int:
    raise UsageError("limit does nothing by itself: set, ls or rm", hint="outrider limit --help")


def _client(options: argparse.Namespace) -> Client:
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    return Client(settings=here.settings(), fleet=here.fleet, name="outrider limit")


async def _set(options: argparse.Namespace) -> int:
    if options.concurrency is None and options.rate is None and options.tokens_per_minute is None:
        raise UsageError(
            "nothing to limit: give --concurrency, --rate or --tokens-per-minute",
            hint="outrider limit set --help",
        )
    starts, per_s = options.rate or (None, 1.0)
    async with _client(options) as client:
        limits = await client.set_limit(
            options.kind,
            options.key,
            concurrency=options.concurrency,
            rate=starts,
            per_s=per_s,
            tokens_per_minute=options.tokens_per_minute,
        )
    return _show(options, limits)


async def _list(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        limits = await client.limits()
    return _show(options, limits)


async def _remove(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        limits = await client.remove_limit(options.kind, options.key)
    return _show(options, limits)


def _show(options: argparse.Namespace, limits: tuple[LimitView, ...]) -> int:
    if hasattr(options, "json"):
        document({"limits": [limit_object(limit) for limit in limits]})
    elif limits:
        data(table(("KIND", "KEY", "AT ONCE", "RATE", "TOKENS/MIN", "WAITING", "HELD"), map(_row, limits)))
    else:
        note("no limits")
    return OK


def limit_object(view: LimitView) -> dict[str, Any]:
    """A limit as `--json` shows it; what it does not limit is null."""
    unset = dict.fromkeys(("concurrency", "rate", "per_s", "tokens_per_minute", "held_s"))
    return unset | to_map(view)


def _row(view: LimitView) -> tuple[str, ...]:
    return (
        view.kind,
        view.key or "-",
        f"{view.in_flight}/{_or_dash(view.concurrency)}",
        f"{view.starts}/{view.rate} in {view.per_s:g} s" if view.rate is not None else "-",
        f"{view.tokens}/{view.tokens_per_minute}" if view.tokens_per_minute is not None else "-",
        str(view.parked),
        f"{view.held_s:.0f} s" if view.held_s is not None else "-",
    )


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
