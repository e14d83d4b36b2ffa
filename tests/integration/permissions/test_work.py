"""Every part does its whole job with only its user's permissions; refusals show in the server's log."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest

from outrider.agents import Agent, Task
from outrider.agents.build import build_agent
from outrider.broker.codec import dump, encode, load
from outrider.broker.errors import NotPermitted, OutriderError, TimedOut
from outrider.broker.messages import TaskEnvelope, task_id_of_key
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.client import Client
from outrider.ledger.archive import Archive
from outrider.ledger.replay import Replay
from outrider.ledger.state import LedgerState
from outrider.orchestrator.shell import serve as serve_orchestrator
from outrider.orchestrator.snapshot_writer import write_snapshot
from outrider.router.serving import serve as serve_router
from tests.integration.permissions.conftest import ConnectAs
from tests.support.production_server import ProductionServer
from tests.support.waiting import eventually

FLEET = "outrider"
Serve = Callable[[asyncio.Event, Callable[[str], None]], Coroutine[None, None, None]]


def violations(server: ProductionServer) -> list[str]:
    """What the server refused to anybody."""
    return re.findall(r".*Violation.*", server.log_file.read_text())


class Parts:
    """Parts that run in this test's loop until its end."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[asyncio.Event, asyncio.Future[None]]] = {}

    async def start(self, name: str, serve: Serve) -> None:
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.ensure_future(serve(stop, lambda _: ready.set()))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        waiting.cancel()
        assert ready.is_set(), running
        self._running[name] = stop, running

    async def ended(self, name: str) -> None:
        """Wait until a part has ended by itself and without an error."""
        await asyncio.wait_for(self._running[name][1], 20)

    async def stop(self) -> None:
        for stop, running in reversed(self._running.values()):
            stop.set()
            await asyncio.wait_for(running, 20)


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    running = Parts()
    yield running
    await running.stop()


@pytest.fixture
async def fleet(production: ProductionServer, parts: Parts, tmp_path: Path) -> Parts:
    """Orchestrator, router and an agent with a user of its own, each with its own credentials."""

    async def orchestrator(stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        await serve_orchestrator(production.settings("orchestrator"), FLEET, stop, on_ready)

    async def router(stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        await serve_router(production.settings("router"), FLEET, tmp_path, "model", stop, on_ready, env={})

    await parts.start("orchestrator", orchestrator)
    await parts.start("router", router)
    await parts.start("agent-1", _serving(_streamer("agent-1"), production, "agent-1"))
    return parts


def _streamer(name: str) -> Agent:
    agent = Agent(name, slots=2)

    @agent.handles("stream")
    async def stream(task: Task) -> dict[str, int]:
        for piece in ("one ", "two ", "three"):
            await task.emit(piece)
        return {"pieces": 3}

    @agent.handles("whole")
    async def whole(task: Task) -> object:
        return task.payload

    return agent


def _serving(agent: Agent, production: ProductionServer, user: str) -> Serve:
    async def serve(stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        await agent.serve(production.settings(user), FLEET, stop, on_ready)

    return serve


async def test_a_task_goes_all_the_way_and_nobody_is_refused_anything(
    production: ProductionServer, fleet: Parts
) -> None:
    async with Client(settings=production.settings("client"), fleet=FLEET) as client:
        task = await client.submit("stream", {"text": "x"}, key="once")
        pieces = [piece async for piece in task.stream()]
        assert "".join(str(piece) for piece in pieces) == "one two three"
        assert await task.result() == {"pieces": 3}
        again = await client.submit("stream", {"text": "x"}, key="once")
        assert again.task_id == task.task_id
        many = await client.submit_many([("stream", {"text": str(n)}) for n in range(20)])
        assert [await one.result() for one in many] == [{"pieces": 3}] * 20
        assert {view.state for view in await client.tasks(limit=50)} == {TaskState.SUCCEEDED}
        assert [agent.agent_id for agent in await client.agents()] == ["agent-1"]
        await client.stats()
        large = await client.submit("stream", {"text": "x" * 300_000}, timeout_s=20)
        assert await large.result() == {"pieces": 3}
        whole = await client.submit("whole", {"text": "x" * 300_000}, timeout_s=20)
        assert await whole.result() == {"text": "x" * 300_000}
    assert violations(production) == []


async def test_an_orchestrator_keeps_snapshots_and_ops_reads_the_past(
    production: ProductionServer, fleet: Parts, connect_as: ConnectAs
) -> None:
    subjects, ops = Subjects(FLEET), await connect_as("ops")
    async with Client(settings=production.settings("client"), fleet=FLEET) as client:
        await (await client.submit("stream", {"text": "x"})).result()
    orchestrator = await connect_as("orchestrator")
    for seq in (1, 2, 3, 1):
        await write_snapshot(orchestrator, subjects, seq)
    state = LedgerState(await Archive(ops, subjects).newest())
    assert state.seq == 3
    assert (await Replay(ops, subjects, LedgerState()).to(3)).digest == state.digest
    assert violations(production) == []


async def test_several_agents_may_share_one_user(
    production: ProductionServer, fleet: Parts, tmp_path: Path
) -> None:
    for name in ("a3f", "b90"):
        agent = build_agent(("echo", "sleep"), name, 1, state=tmp_path / name)
        await fleet.start(name, _serving(agent, production, "agents"))
    async with Client(settings=production.settings("client"), fleet=FLEET) as client:
        task = await client.submit("echo", {"text": "hi"})
        await task.result()
        sleeping = await client.submit("sleep", {"seconds": 60})
        await client.cancel(sleeping.task_id)
        assert (await client.get(sleeping.task_id)).state is TaskState.CANCELLED
    assert violations(production) == []


async def test_ops_sees_the_fleet_asks_it_and_drains_an_agent(
    production: ProductionServer, fleet: Parts, connect_as: ConnectAs
) -> None:
    ops = await connect_as("ops")
    subjects = Subjects(FLEET)
    answer = await ops.request(subjects.submit, dump({"kind": "stream", "payload": {}}))
    task_id = load(answer.data)["task_id"]

    async def is_over() -> bool:
        got = load((await ops.request(subjects.get, dump({"task_id": task_id}))).data)
        return bool(got["state"] == "succeeded")

    await eventually(is_over, 20, "the task")
    for stream in (subjects.tasks_stream, subjects.ledger_stream, subjects.chunks_stream):
        assert (await ops.api(f"STREAM.INFO.{stream}"))["config"]["name"] == stream
    drained = await ops.request(subjects.agent("agent-1", "drain"), dump({}))
    assert load(drained.data)["in_flight"] == 0
    await fleet.ended("agent-1")
    assert violations(production) == []


async def test_a_strange_reply_subject_cannot_make_the_orchestrator_write_elsewhere(
    production: ProductionServer, fleet: Parts, connect_as: ConnectAs
) -> None:
    client, ops = await connect_as("client"), await connect_as("ops")
    subjects = Subjects(FLEET)
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: object) -> None:
        heard.put_nowait(getattr(message, "subject", ""))

    await ops.subscribe(subjects.all_ledger, hear)
    await ops.subscribe(subjects.all_tasks, hear)
    await ops.settle()
    for target in (subjects.ledger_orchestrator("t1", "o-1"), subjects.task("stream", 0, "t1")):
        await client.publish(subjects.stats, dump({}), reply=target)
        await client.publish(subjects.stats, b"\xc1 not readable", reply=target)
    answer = load((await client.request(subjects.stats, dump({}))).data)
    assert "error" not in answer, "the others are answered as before"
    await ops.settle()
    assert heard.empty()


async def test_an_agent_may_not_join_under_another_name(
    production: ProductionServer, fleet: Parts, connect_as: ConnectAs
) -> None:
    rogue = await connect_as("agent-1")
    problems: list[OutriderError] = []
    rogue.on_problem(problems.append)
    with pytest.raises(TimedOut):
        await rogue.request(Subjects(FLEET).agent("other", "join"), dump({"agent_id": "other"}), 0.3)
    assert [type(problem) for problem in problems] == [NotPermitted]


FORGERS = [("client", "TASKS"), ("client", "PAYLOADS"), ("agent-1", "PAYLOADS")]


@pytest.mark.xfail(
    strict=True,
    reason="the server sends what a direct read found to any reply subject, whoever asks: nats-server#8274 "
    "is the same for consumers. With no_hdr nothing in the message tells it from its writer's own.",
)
@pytest.mark.parametrize(("user", "through"), FORGERS)
async def test_nobody_can_have_the_server_write_a_ledger_entry_for_it(
    production: ProductionServer, fleet: Parts, connect_as: ConnectAs, user: str, through: str
) -> None:
    rogue, ops, subjects = await connect_as(user), await connect_as("ops"), Subjects(FLEET)
    # No agent has this kind, so the body stays in the queue and can be read back.
    of_task = subjects.tasks_stream, subjects.task("nobodys", 5, "forged")
    of_object = f"OBJ_{subjects.objects_bucket}", f"$O.{subjects.objects_bucket}.C.forged"
    stream, subject = of_task if through == "TASKS" else of_object
    await rogue.request(subject, b"an entry of my own")
    target = subjects.ledger_orchestrator("forged", "o-1")
    query = json.dumps({"last_by_subj": subject, "no_hdr": True}).encode()
    await rogue.publish(f"$JS.API.DIRECT.GET.{stream}", query, reply=target)
    await rogue.request(subject + "2", b"stored after it")
    filtered = {"subjects_filter": subjects.story("forged")}
    info = await ops.api(f"STREAM.INFO.{subjects.ledger_stream}", filtered)
    assert not info["state"].get("subjects")


async def test_what_somebody_else_wrote_under_a_waiting_task_does_not_keep_it_from_being_cancelled(
    production: ProductionServer, fleet: Parts, connect_as: ConnectAs
) -> None:
    rogue, subjects = await connect_as("agent-1"), Subjects(FLEET)
    async with Client(settings=production.settings("client"), fleet=FLEET) as client:
        envelope = TaskEnvelope("nobodys", "x", "victim")
        await client.connection.request(subjects.task("nobodys", 5, "victim"), encode(envelope))
        await rogue.request(subjects.ledger_agent("victim", "agent-1"), b"nonsense")
        assert (await client.get("victim")).state is TaskState.QUEUED
        assert (await client.cancel("victim")).state is TaskState.CANCELLED


async def test_a_name_that_somebody_wrote_nonsense_under_can_still_be_submitted(
    production: ProductionServer, fleet: Parts, connect_as: ConnectAs
) -> None:
    rogue, subjects = await connect_as("agent-1"), Subjects(FLEET)
    for key in ("by publishing", "by request"):
        subject = subjects.ledger_agent(task_id_of_key(key), "agent-1")
        await rogue.request(subject, b"nonsense")
    async with Client(settings=production.settings("client"), fleet=FLEET) as client:
        task = await client.submit("stream", {}, key="by publishing")
        assert await asyncio.wait_for(task.result(), 20) == {"pieces": 3}
        body = dump({"kind": "stream", "payload": {}, "idempotency_key": "by request"})
        answer = load((await client.connection.request(subjects.submit, body)).data)
        assert await asyncio.wait_for((await client.task(answer["task_id"])).result(), 20) == {"pieces": 3}
