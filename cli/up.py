"""`outrider up`: every part of a fleet in one terminal, on a private nats-server unless NATS is named."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from outrider.cli.config import Surroundings, surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.output import document, note
from outrider.cli.parser import Commands, add_command, count, count_from_0, port

if TYPE_CHECKING:
    from outrider.cli.fleet_processes import FleetProcesses

T = TypeVar("T")

DEFAULT_UI_PORT = 8080
TEXT = """Starts orchestrator, router, pages and agents as processes of their own, shows their lines,
starts again what dies, and stops all of it in order on Ctrl-C. The private server keeps its data in the
state folder and leaves its address there: other outrider commands in this folder find it."""


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "up", "run all parts in this terminal", "outrider up --agents 2", TEXT)
    parser.add_argument(
        "--agents", metavar="N", type=count_from_0, default=2, help="how many agents (default 2)"
    )
    parser.add_argument(
        "--kinds", default="", help="their kinds (default: chat,summarize,classify,extract,echo,sleep)"
    )
    parser.add_argument("--slots", metavar="N", type=count, default=4, help="slots of each (default 4)")
    parser.add_argument("--port", type=port, help="port of the pages (default 8080, or a free one)")
    parser.add_argument(
        "--nats-port", type=port, default=0, help="port of the private server (default: free)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from outrider.broker.service import run_until_signal  # noqa: PLC0415 - it brings NATS

    async def main(stop: asyncio.Event) -> None:
        await _up(options, surroundings(options), stop)

    asyncio.run(run_until_signal(main))
    return OK


async def _up(options: argparse.Namespace, here: Surroundings, stop: asyncio.Event) -> None:
    from outrider.cli.fleet_processes import FleetProcesses  # noqa: PLC0415
    from outrider.cli.private_nats import nats_server  # noqa: PLC0415
    from outrider.cli.waiting import or_stopped, patiently  # noqa: PLC0415

    store = here.state.absolute() / "nats"
    async with nats_server(here, store, options.nats_port or -1, alone=True) as settings:
        fleet = FleetProcesses(here.for_children(settings), print_line)
        try:
            url = await or_stopped(patiently("the parts start", _start(fleet, options)), stop)
            note(f"pages on {url} and {url}/admin; Ctrl-C stops everything")
            note(f"other programs: export NATS_URL={settings.url}")
            if hasattr(options, "json"):
                document({"url": url, "nats_url": settings.url})
            note("up ready")
            await kept(fleet, stop.wait())
        finally:
            await patiently("the parts stop", fleet.stop())


async def _start(fleet: FleetProcesses, options: argparse.Namespace) -> str:
    await fleet.start("orchestrator", "orchestrator", stage=1)
    kinds = options.kinds or "chat,summarize,classify,extract,echo,sleep"
    async with asyncio.TaskGroup() as group:
        group.create_task(fleet.start("router", "router", stage=1))
        pages = group.create_task(start_pages(fleet, options.port))
        for number in range(1, options.agents + 1):
            arguments = (
                "agent",
                "--kinds",
                kinds,
                "--slots",
                str(options.slots),
                "--name",
                f"agent-{number}",
            )
            group.create_task(fleet.start(f"agent-{number}", *arguments, stage=3))
    return pages.result()


async def start_pages(fleet: FleetProcesses, wanted: int | None) -> str:
    """Start the pages on the wanted port, else on 8080 or a free one; returns their address."""
    chosen = wanted if wanted is not None else free_port(DEFAULT_UI_PORT)
    part = await fleet.start("ui", "ui", "--port", str(chosen), stage=2)
    return next(word for word in part.ready_line.split() if word.startswith("http"))


def free_port(preferred: int) -> int:
    """The preferred port when nobody listens on it, else 0."""
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return 0
    return preferred


async def kept(fleet: FleetProcesses, work: Coroutine[Any, Any, T]) -> T:
    """Keep the parts running while the work is done. Raises PartFailed when one cannot be kept."""
    keeping, doing = asyncio.ensure_future(fleet.supervise()), asyncio.ensure_future(work)
    try:
        await asyncio.wait([keeping, doing], return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            await keeping
        return await doing
    finally:
        for task in (keeping, doing):
            task.cancel()
        await asyncio.wait([keeping, doing])


def print_line(name: str, line: str) -> None:
    """A part's line on stderr, behind its name."""
    sys.stderr.write(f"{name:>12} | {line}\n")
    sys.stderr.flush()
