"""`outrider stress`: loads a fleet with many tasks at once and counts in the ledger what became of them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.cli.config import Surroundings, surroundings
from outrider.cli.exit_codes import FAILURE, OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, table
from outrider.cli.parser import Commands, add_command, count

if TYPE_CHECKING:
    from outrider.cli.fleet_processes import FleetProcesses

TEXT = """Uses the fleet of NATS_URL, the NATS context or a running `outrider up`; else starts a private one
with --agents agents. Exits 1 if a task was lost or ended twice."""


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "stress",
        "load a fleet and count what is lost",
        "outrider stress --tasks 5000 --agents 4",
        text=TEXT,
    )
    parser.add_argument("--tasks", metavar="N", type=count, default=1000, help="how many (default 1000)")
    parser.add_argument("--agents", metavar="N", type=count, default=2, help="of a private fleet (default 2)")
    parser.add_argument("--kind", choices=("echo", "sleep"), default="echo", help="default echo")
    parser.add_argument("--payload", metavar="BYTES", type=int, default=100, help="of each (default 100)")
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=0.05, help="of kind sleep (default 0.05)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    report = run_interruptibly(_stress(options, surroundings(options)))
    if hasattr(options, "json"):
        document(report)
    else:
        data(table(("", ""), [(name, str(value)) for name, value in report.items()]).lstrip("\n"))
    return FAILURE if report["lost"] or report["duplicates"] or report["failed"] else OK


async def _stress(options: argparse.Namespace, here: Surroundings) -> dict[str, Any]:
    from outrider.broker.config import PRIVATE  # noqa: PLC0415
    from outrider.cli.fleet_processes import FleetProcesses  # noqa: PLC0415
    from outrider.cli.load import load_fleet  # noqa: PLC0415
    from outrider.cli.private_nats import nats_server  # noqa: PLC0415
    from outrider.cli.waiting import patiently  # noqa: PLC0415

    named = here.settings()
    if not named.is_default or named.source == PRIVATE:
        note(f"loading the fleet at {named.url} (from {named.source})")
        return await load_fleet(named, here.fleet, options)
    with tempfile.TemporaryDirectory(prefix="outrider-stress-") as folder:
        async with nats_server(here, None) as settings:
            fleet = FleetProcesses(here.for_children(settings, Path(folder)), _say)
            try:
                await patiently("the parts start", _start(fleet, options))
                return await load_fleet(settings, here.fleet, options)
            finally:
                await patiently("the parts stop", fleet.stop())


async def _start(fleet: FleetProcesses, options: argparse.Namespace) -> None:
    await fleet.start("orchestrator", "orchestrator", stage=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(fleet.start("router", "router", stage=1))
        for number in range(1, options.agents + 1):
            name = f"agent-{number}"
            arguments = ("agent", "--kinds", options.kind, "--slots", "64", "--name", name)
            group.create_task(fleet.start(name, *arguments, stage=2))


def _say(name: str, line: str) -> None:
    sys.stderr.write(f"{name:>12} | {line}\n")
