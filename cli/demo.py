"""`outrider demo`: a whole fleet on this machine does twelve real tasks, shown as they stream."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.cli.config import Surroundings, surroundings
from outrider.cli.exit_codes import FAILURE, OK
from outrider.cli.output import document, note, task_object
from outrider.cli.parser import Commands, add_command, port

if TYPE_CHECKING:
    from outrider.broker.config import NatsSettings
    from outrider.broker.views import TaskView
    from outrider.cli.demo_report import Report
    from outrider.cli.fleet_processes import FleetProcesses
    from outrider.client import Task

TEXT = """Starts a private nats-server, orchestrator, router, pages and six agents, submits twelve tasks of
three kinds, and keeps serving the pages until Ctrl-C. Without a key the agents share a small language model
on this machine; with OPENAI_API_KEY set they call that API."""


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "demo", "see a fleet do real work", "outrider demo --once --json", TEXT)
    parser.add_argument("--once", action="store_true", help="end after the summary; 0 if all succeeded")
    parser.add_argument("--port", type=port, help="port of the pages (default 8080, or a free one)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from outrider.broker.service import run_until_signal  # noqa: PLC0415 - it brings NATS

    outcome = [FAILURE]

    async def main(stop: asyncio.Event) -> None:
        outcome[0] = await _demo(options, surroundings(options), stop)

    asyncio.run(run_until_signal(main))
    return outcome[0]


async def _demo(options: argparse.Namespace, here: Surroundings, stop: asyncio.Event) -> int:
    from outrider.cli.demo_report import Report  # noqa: PLC0415
    from outrider.cli.fleet_processes import FleetProcesses  # noqa: PLC0415
    from outrider.cli.private_nats import nats_server  # noqa: PLC0415
    from outrider.cli.up import kept  # noqa: PLC0415
    from outrider.cli.waiting import or_stopped, patiently  # noqa: PLC0415

    report = Report(sys.stderr if hasattr(options, "json") else sys.stdout)
    with tempfile.TemporaryDirectory(prefix="outrider-demo-") as folder:
        async with nats_server(here, None) as settings:
            fleet = FleetProcesses(here.for_children(settings, Path(folder)), _only_troubles)
            try:
                url = await or_stopped(patiently("the parts start", _start(fleet, options.port)), stop)
                views = await or_stopped(kept(fleet, _work(here, settings, report)), stop)
                return await _finish(options, url, views, fleet, stop)
            finally:
                await patiently("the parts stop", fleet.stop())


async def _finish(
    options: argparse.Namespace, url: str, views: list[TaskView], fleet: FleetProcesses, stop: asyncio.Event
) -> int:
    from outrider.broker.states import TaskState  # noqa: PLC0415
    from outrider.cli.up import kept  # noqa: PLC0415

    if hasattr(options, "json"):
        document({"tasks": [task_object(view) for view in views], "url": url})
    if not options.once:
        note(
            f"the pages stay on {url} and {url}/admin until Ctrl-C; try `outrider submit` in another terminal"
        )
        await kept(fleet, stop.wait())
    return OK if all(view.state is TaskState.SUCCEEDED for view in views) else FAILURE


async def _start(fleet: FleetProcesses, wanted_port: int | None) -> str:
    from outrider.cli.demo_tasks import AGENTS, LANGUAGE  # noqa: PLC0415
    from outrider.cli.up import start_pages  # noqa: PLC0415

    await fleet.start("orchestrator", "orchestrator", stage=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(fleet.start("router", "router", stage=1))
        pages = group.create_task(start_pages(fleet, wanted_port))
        for name, slots, max_tokens in AGENTS:
            sizes = ("--slots", str(slots), *(("--max-tokens", str(max_tokens)) if max_tokens else ()))
            arguments = ("agent", "--kinds", LANGUAGE, "--name", name, *sizes)
            group.create_task(fleet.start(name, *arguments, stage=3))
    note(f"orchestrator, router and {len(AGENTS)} agents are ready; pages on {pages.result()}")
    return pages.result()


async def _work(here: Surroundings, settings: NatsSettings, report: Report) -> list[TaskView]:
    from outrider.cli.demo_tasks import FIRST_ROUND, TASKS  # noqa: PLC0415
    from outrider.client import Client  # noqa: PLC0415

    labels = [f"{kind} {number}" for number, (kind, _) in enumerate(TASKS, 1)]
    views: list[TaskView] = []
    async with Client(settings=settings, fleet=here.fleet, name="outrider demo") as client:
        for some in (slice(FIRST_ROUND), slice(FIRST_ROUND, None)):
            tasks = await client.submit_many(TASKS[some])
            known = "the router has not seen these agents yet" if not views else "now it has"
            report.say(f"{len(tasks)} tasks submitted; {known}")
            views += await _show(report, labels[some], tasks)
    report.summary(labels, views)
    return views


async def _show(report: Report, labels: list[str], tasks: list[Task]) -> list[TaskView]:
    from outrider.cli.waiting import patiently  # noqa: PLC0415

    async with asyncio.TaskGroup() as group:
        pairs = zip(labels, tasks, strict=True)
        telling = [group.create_task(report.tell(label, task)) for label, task in pairs]
        await patiently("the agents work", asyncio.wait(telling))
    return [told.result() for told in telling]


def _only_troubles(name: str, line: str) -> None:
    """The demo shows the tasks; a part's own lines only matter when it is in trouble."""
    if "ended with exit code" in line or "Traceback" in line or "Error" in line:
        note(f"{name}: {line}")
