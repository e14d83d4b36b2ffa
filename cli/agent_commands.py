"""`outrider agent`: run one of the agents that ship; `agent ls|drain`: look at agents and let one finish."""

from __future__ import annotations

import argparse
import asyncio
import socket
from typing import TYPE_CHECKING

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK, UsageError
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import agent_object, data, document, note, seconds, table
from outrider.cli.parser import Commands, Parser, add_command, count, names, positive
from outrider.cli.serving import OnReady, run_part

if TYPE_CHECKING:
    from outrider.broker.views import AgentView
    from outrider.client import Client

TEXT = """Kinds that ship: chat, summarize, classify, extract (a language model: the API of OPENAI_API_KEY or
OPENAI_BASE_URL, else a small one on this machine), echo and sleep (tests).
Your own agent is ten lines of Python: README.md."""


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "agent",
        "run an agent, list agents or drain one",
        "outrider agent --kinds chat,summarize --slots 4 --name gpu-1",
        text=TEXT,
    )
    parser.add_argument("--kinds", metavar="KIND,...", type=names, help="what this agent can do")
    parser.add_argument("--slots", metavar="N", type=count, default=4, help="attempts at once (default 4)")
    parser.add_argument("--name", help="name in the fleet (default: name of this machine)")
    parser.add_argument(
        "--labels", metavar="LABEL,...", type=names, default=(), help="labels that tasks may require"
    )
    parser.add_argument("--speed", metavar="F", type=positive, default=1.0, help="kind sleep: times faster")
    parser.add_argument("--max-tokens", metavar="N", type=count, help="language kinds: longest answer")
    parser.set_defaults(run=run_agent)
    inner = parser.add_subparsers(metavar="ls|drain", parser_class=Parser)
    listing = add_command(inner, "ls", "list agents", "outrider agent ls --json")
    listing.set_defaults(run=lambda options: run_interruptibly(_list(options)))
    drain = add_command(
        inner, "drain", "let an agent finish and take nothing new", "outrider agent drain gpu-1"
    )
    drain.add_argument("agent_id", metavar="NAME")
    drain.add_argument("--reason", default="", help="why, for the agent's log")
    drain.set_defaults(run=lambda options: run_interruptibly(_drain(options)))


def run_agent(options: argparse.Namespace) -> int:
    if not options.kinds:
        raise UsageError("--kinds is missing: which tasks is this agent for?", hint="outrider agent --help")
    here = surroundings(options)
    name = options.name or socket.gethostname().split(".")[0]

    async def serve(stop: asyncio.Event, on_ready: OnReady) -> None:
        from outrider.agents.build import AgentOptions, build_agent  # noqa: PLC0415
        from outrider.agents.config import labels_from  # noqa: PLC0415

        labels = (*options.labels, *labels_from(here.env))
        sizes = AgentOptions(max_tokens=options.max_tokens, speed=options.speed)
        agent = build_agent(options.kinds, name, options.slots, labels, sizes, here.state)
        await agent.serve(here.settings(), here.fleet, stop, on_ready)

    return run_part(serve)


def _client(options: argparse.Namespace) -> Client:
    from outrider.client import Client  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    return Client(settings=here.settings(), fleet=here.fleet, name="outrider agent")


async def _list(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        agents = await client.agents()
    if hasattr(options, "json"):
        document({"agents": [agent_object(agent) for agent in agents]})
    elif agents:
        data(table(("AGENT", "STATE", "KINDS", "BUSY", "SEEN"), map(_row, agents)))
    else:
        note("no agents")
    return OK


def _row(agent: AgentView) -> tuple[str, ...]:
    seen = f"{seconds(agent.last_seen_s)} ago" if agent.last_seen_s is not None else "-"
    return (
        agent.agent_id,
        agent.state.value,
        ",".join(agent.kinds),
        f"{agent.in_flight}/{agent.slots}",
        seen,
    )


async def _drain(options: argparse.Namespace) -> int:
    async with _client(options) as client:
        done = await client.drain(options.agent_id, options.reason)
    if hasattr(options, "json"):
        document({"agent_id": options.agent_id, "state": "draining", "in_flight": done.in_flight})
    else:
        data(f"{options.agent_id} drains: {done.in_flight} attempts to finish")
    return OK
