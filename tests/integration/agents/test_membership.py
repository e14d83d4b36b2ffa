"""Joining, leaving and being visible."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from outrider.agents import Agent, Task
from outrider.broker.codec import decode, encode
from outrider.broker.config import BadSettings, NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, Refused, TimedOut
from outrider.broker.messages import AssignAnswer, Heartbeat, Ping
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.support.waiting import eventually


def echo_agent() -> Agent:
    agent = Agent("a1")

    @agent.handles("echo")
    async def echo(task: Task) -> object:
        return task.payload

    return agent


async def test_an_agent_waits_for_an_orchestrator_and_says_so_once(
    connection: Connection, subjects: Subjects, settings: NatsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(echo_agent().serve(settings, subjects.fleet, stop, lambda _: ready.set()))

    async def told() -> bool:
        return "no orchestrator answers" in caplog.text

    await eventually(told, 10, "the agent says what it waits for")
    assert not ready.is_set()
    part = Counterpart(connection, subjects)
    await part.start()
    await asyncio.wait_for(ready.wait(), 10)
    assert caplog.text.count("has not joined yet") == 1
    stop.set()
    await task


async def test_an_agent_that_waits_for_an_orchestrator_can_be_stopped(
    settings: NatsSettings, subjects: Subjects, caplog: pytest.LogCaptureFixture
) -> None:
    stop = asyncio.Event()
    task = asyncio.ensure_future(echo_agent().serve(settings, subjects.fleet, stop, lambda _: None))

    async def told() -> bool:
        return "no orchestrator answers" in caplog.text

    await eventually(told, 10, "the agent tries to join")
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_a_refused_join_ends_the_agent_with_the_reason(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    part.refusal = Refused("a1 is taken by instance 123")
    with pytest.raises(Refused, match="taken by instance 123"):
        await echo_agent().serve(settings, subjects.fleet, asyncio.Event(), lambda _: None)
    assert part.beats == []


async def test_a_newcomer_does_not_take_the_messages_of_the_one_that_holds_the_name(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with serving(echo_agent(), settings, subjects):
        part.refusal = Refused("taken")
        newcomer = Agent("a1", state=tmp_path_factory.mktemp("elsewhere"))
        newcomer.handles("other")(lambda task: None)
        with pytest.raises(Refused):
            await newcomer.serve(settings, subjects.fleet, asyncio.Event(), lambda _: None)
        for n in range(8):
            await part.give("a1", "echo", n, task_id=f"t{n}")


async def test_an_agent_without_handlers_or_nats_says_so(settings: NatsSettings, subjects: Subjects) -> None:
    with pytest.raises(BadSettings, match="no handler"):
        await Agent("a1").serve(settings, subjects.fleet, asyncio.Event(), lambda _: None)
    nowhere = NatsSettings(url="nats://127.0.0.1:9", source="test")
    with pytest.raises(NatsUnavailable):
        await echo_agent().serve(nowhere, subjects.fleet, asyncio.Event(), lambda _: None)


async def test_the_agent_is_a_micro_service_that_also_speaks_json(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    async with serving(echo_agent(), settings, subjects):
        info = json.loads((await part.connection.request("$SRV.INFO.outrider-agent", b"")).data)
        assert {e["subject"].rpartition(".")[2] for e in info["endpoints"]} == {
            "assign",
            "cancel",
            "drain",
            "renew",
        }
        epoch = await part.append_assigned("t1", "a1", "echo")
        body = {
            "task_id": "t1",
            "kind": "echo",
            "attempt": 1,
            "epoch": epoch,
            "expect": epoch,
            "payload": "hi",
        }
        answer = await part.connection.request(subjects.agent("a1", "assign"), json.dumps(body).encode())
        assert answer.data.startswith(b"{")
        assert decode(AssignAnswer, answer.data).accepted
        assert await part.result() == "hi"
        ping = await part.connection.request(subjects.agent("a1", "ping"), b"{}")
        assert json.loads(ping.data)["agent_id"] == "a1"
        assert decode(Heartbeat, ping.data).state == "online"
        empty = await part.connection.request(subjects.agent("a1", "ping"), b"")
        assert decode(Heartbeat, empty.data).agent_id == "a1"


async def test_a_ping_for_another_run_of_the_agent_is_not_answered(
    part: Counterpart, settings: NatsSettings, subjects: Subjects
) -> None:
    async with serving(echo_agent(), settings, subjects):
        mine = await part.ask("a1", "ping", Ping(part.joins[0].instance), Heartbeat)
        assert mine.instance == part.joins[0].instance
        with pytest.raises(TimedOut):
            await part.connection.request(subjects.agent("a1", "ping"), encode(Ping("former-run")), 0.2)


async def test_the_agent_keeps_quiet_while_it_works(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "outrider")
    async with serving(echo_agent(), settings, subjects):
        for n in range(20):
            await part.give("a1", "echo", n, task_id=f"t{n}")
        await part.outcome("t19")
    assert caplog.messages == []
