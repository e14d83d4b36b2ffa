"""`outrider router replay`: would another policy or model have been better on what the ledger holds?"""

from __future__ import annotations

import argparse
from typing import Any

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, seconds, table
from outrider.cli.parser import Commands, add_command, duration

WHY = {
    "no_candidates": "without recorded candidates",
    "no_success": "of tasks that did not succeed, or not yet",
    "little_known": "where the policy wants an agent too little was seen of",
}

NOTHING = "0 ms"


def add_to(inner: Commands) -> None:
    example = "outrider router replay --since 24h --policy least_outstanding --json"
    text = "Changes are estimates, see docs/router.md; decisions are judged one by one."
    replay = add_command(inner, "replay", "ask what another choice would have changed", example, text)
    replay.add_argument(
        "--since", metavar="AGE", type=duration, default=86400.0, help="how far back (default 24h)"
    )
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--policy", metavar="NAME", help="such as least_outstanding; docs/router.md lists them"
    )
    which.add_argument(
        "--model",
        metavar="VERSION",
        help="a version that `outrider router models` lists, or serving, or shipped",
    )
    replay.set_defaults(run=lambda options: run_interruptibly(_replay(options)))


async def _replay(options: argparse.Namespace) -> int:
    from outrider.router import replay  # noqa: PLC0415 - it brings numpy

    here = surroundings(options)
    found = await replay(
        here.settings(), here.fleet, here.state, options.since, policy=options.policy, model=options.model
    )
    if hasattr(options, "json"):
        document(found)
    else:
        data(_for_people(found))
    return OK


def _for_people(found: dict[str, Any]) -> str:
    lines = [
        f"against {_against(found)}",
        f"{found['decisions']} decisions, {found['judged_share']:.0%} can be judged",
        f"as recorded: {found['matched_share']:.1%}",
        f"by a model of the outcome: {found['modelled_share']:.1%}",
    ]
    lines += [f"not judged: {share:.1%} {WHY[why]}" for why, share in found["unjudged"].items()]
    if not found["is_whole"]:
        lines.append("only the newest part of the time asked for was read")
    if found["change"] is None:
        return "\n".join([*lines, "too few decisions can be judged for an estimate"])
    rows = [_row(name, found) for name in found["change"]]
    head = ("SOJOURN", "RECORDED", "REPLAYED", "CHANGE", f"{found['confidence']:.0%} INTERVAL")
    return "\n".join([*lines, f"estimate: {found['method']}", table(head, rows)])


def _against(found: dict[str, Any]) -> str:
    if found["policy"] is not None:
        return f"policy {found['policy']}"
    asked, version = found["model"], found["model_version"]
    return f"model {version}" if asked == version else f"model {version} ({asked})"


def _row(name: str, found: dict[str, Any]) -> list[str]:
    change = found["change"][name]
    return [
        name.removesuffix("_s"),
        seconds(found["recorded"][name]),
        seconds(found["replayed"][name]),
        _signed(change["estimate"]),
        f"{_signed(change['low'])} to {_signed(change['high'])}",
    ]


def _signed(value: float) -> str:
    shown = seconds(abs(value))
    if shown == NOTHING:
        return shown
    return ("-" if value < 0 else "+") + shown
