"""`outrider orchestrator|router|ui`: one part each, in this process."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from outrider.cli import model_commands, replay_command, router_commands
from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.output import as_json, data, document
from outrider.cli.parser import Commands, Parser, add_command, port
from outrider.cli.serving import OnReady, run_part


def add_to(commands: Commands) -> None:
    part = add_command(
        commands, "orchestrator", "run an orchestrator", "outrider orchestrator --url nats://127.0.0.1:4222"
    )
    part.set_defaults(run=run_orchestrator)
    _add_router(commands)
    pages = add_command(commands, "ui", "serve the pages and the REST API", "outrider ui --port 8080")
    pages.add_argument("--host", help="address (default 127.0.0.1; others need OUTRIDER_UI_TOKEN)")
    pages.add_argument("--port", type=port, help="port to listen on, 0 for any free one (default 8080)")
    pages.set_defaults(run=run_ui)


JSON_REPORT = "It prints JSON: over several lines for people, on one with --json."


def _add_router(commands: Commands) -> None:
    router = add_command(
        commands, "router", "run a router, train its model or show it", "outrider router train --json"
    )
    router.add_argument("--policy", choices=("model", "random"), help="random is for comparison only")
    router.set_defaults(run=run_router)
    inner = router.add_subparsers(
        metavar="serve|train|show|models|rollback|key|stats|eval|explain|replay", parser_class=Parser
    )
    serve = add_command(inner, "serve", "run a router (the default)", "outrider router serve")
    serve.add_argument("--policy", choices=("model", "random"), default=argparse.SUPPRESS)
    serve.set_defaults(run=run_router)
    train = add_command(
        inner, "train", "train on the ledger, promote if better", "outrider router train", JSON_REPORT
    )
    train.set_defaults(run=train_router)
    show = add_command(
        inner, "show", "show the model that serves", "outrider router show --json", JSON_REPORT
    )
    show.set_defaults(run=show_router)
    model_commands.add_to(inner)
    router_commands.add_to(inner)
    replay_command.add_to(inner)


def run_orchestrator(options: argparse.Namespace) -> int:
    here = surroundings(options)

    async def serve(stop: asyncio.Event, on_ready: OnReady) -> None:
        from outrider.broker.stream_limits import StreamLimits  # noqa: PLC0415
        from outrider.orchestrator.config import Thresholds  # noqa: PLC0415
        from outrider.orchestrator.shell import serve as serve_orchestrator  # noqa: PLC0415

        thresholds = Thresholds.from_environment(here.env)
        bounds = StreamLimits.from_environment(here.env)
        await serve_orchestrator(here.settings(), here.fleet, stop, on_ready, thresholds, bounds=bounds)

    return run_part(serve)


def run_router(options: argparse.Namespace) -> int:
    here = surroundings(options)

    async def serve(stop: asyncio.Event, on_ready: OnReady) -> None:
        from outrider.router import serve as serve_router  # noqa: PLC0415

        policy = options.policy or here.env.get("OUTRIDER_ROUTER_POLICY", "model")
        await serve_router(here.settings(), here.fleet, here.state, policy, stop, on_ready)

    return run_part(serve)


def run_ui(options: argparse.Namespace) -> int:
    here = surroundings(options)

    async def serve(stop: asyncio.Event, on_ready: OnReady) -> None:
        from outrider.ui import serve as serve_ui  # noqa: PLC0415
        from outrider.ui.config import ui_settings  # noqa: PLC0415

        where = ui_settings(options.host, options.port, here.env)
        await serve_ui(here.settings(), here.fleet, where.host, where.port, stop, on_ready)

    return run_part(serve)


def train_router(options: argparse.Namespace) -> int:
    from outrider.router import train  # noqa: PLC0415

    here = surroundings(options)
    return _report(options, asyncio.run(train(here.settings(), here.fleet, here.state)))


def show_router(options: argparse.Namespace) -> int:
    from outrider.router import show  # noqa: PLC0415

    return _report(options, show(surroundings(options).state))


def _report(options: argparse.Namespace, report: dict[str, Any]) -> int:
    if hasattr(options, "json"):
        document(report)
    else:
        data(as_json(report, indent=2))
    return OK
