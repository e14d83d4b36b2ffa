"""`outrider doctor`: looks at everything that must be right, and says how to mend what is not."""

from __future__ import annotations

import argparse
from typing import Any

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import FAILURE, OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document
from outrider.cli.parser import Commands, add_command

SIGNS = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "doctor",
        "check this machine and its fleet",
        "outrider doctor",
        text="Exits 1 if something is wrong.",
    )
    parser.set_defaults(run=lambda options: run_interruptibly(_run(options)))


async def _run(options: argparse.Namespace) -> int:
    from outrider.cli.examination import examine  # noqa: PLC0415 - it brings NATS

    findings: list[dict[str, Any]] = await examine(surroundings(options))
    is_wrong = any(finding["status"] == "wrong" for finding in findings)
    if hasattr(options, "json"):
        document({"ok": not is_wrong, "checks": findings})
    else:
        for finding in findings:
            fix = f" ({finding['fix']})" if finding["fix"] else ""
            data(f"{SIGNS[finding['status']]}  {finding['name']}: {finding['detail']}{fix}")
    return FAILURE if is_wrong else OK
