"""Payloads and results over the inline limit, all the way through a real fleet on a real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outrider.agents import Agent, Task
from outrider.broker.codec import MAX_ENVELOPE_BYTES, dump, load
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import IdempotencyConflict, PayloadTooLarge, error_from_wire
from outrider.broker.object_ref import ref_of
from outrider.broker.states import TaskState
from outrider.broker.subjects import Subjects
from outrider.client import Client, NewTask, ObjectMissing
from outrider.client.task import Task as Handle
from tests.integration.agents.counterpart import serving
from tests.integration.orchestrator.conftest import Fleet
from tests.integration.ui.running import RunningBridge

LARGE = {"text": "ä" * 400_000, "n": list(range(1000))}


@pytest.fixture
async def fleet(settings: NatsSettings, connection: Connection, subjects: Subjects) -> AsyncIterator[Fleet]:
    """One orchestrator, and one agent that gives back what it got."""
    running = Fleet(settings, connection, subjects)
    await running.start_orchestrator()
    agent = Agent("a1", slots=2)

    @agent.handles("echo")
    async def echo(task: Task) -> Any:
        return task.payload

    @agent.handles("echo-sync")
    def echo_sync(task: Task) -> Any:
        return task.payload

    @agent.handles("size")
    async def size(task: Task) -> int:
        return len(str(task.payload))

    async with serving(agent, settings, subjects):
        yield running
    await running.stop()


@pytest.fixture
async def client(settings: NatsSettings, fleet: Fleet) -> AsyncIterator[Client]:
    async with Client(settings=settings, fleet=fleet.subjects.fleet) as opened:
        yield opened


async def objects(fleet: Fleet) -> int:
    info = await fleet.connection.api(f"STREAM.INFO.{fleet.subjects.objects_stream}")
    return int(info["state"]["messages"])


async def ended(handle: Handle) -> Any:
    return await handle.ended(20)


@pytest.mark.parametrize("kind", ["echo", "echo-sync"])
async def test_a_large_payload_and_a_large_result_go_through_as_if_they_were_small(
    client: Client, fleet: Fleet, kind: str
) -> None:
    task = await client.submit(kind, LARGE)
    assert await task.result(20) == LARGE
    view = await client.get(task.task_id)
    assert view.result is None
    assert view.result_ref == view.payload_ref == ref_of(dump(LARGE))
    story = await fleet.ledger.stored(task.task_id)
    assert max(len(stored.data) for stored in story) < 2000
    assert await objects(fleet) == 8  # stored once, for the payload and for the equal result


async def test_many_large_ones_among_small_ones(client: Client, fleet: Fleet) -> None:
    large, wanted = ["x" * 300_000, "y" * 300_000], [300_000, 1, 300_000, 300_000, 1]
    payloads = [large[0], "a", large[1], large[0], "b"]
    tasks = await client.submit_many([NewTask("size", payload) for payload in payloads])
    assert [await task.result(20) for task in tasks] == wanted


async def test_a_key_stands_for_a_large_payload_as_for_a_small_one(client: Client) -> None:
    first = await client.submit("size", LARGE, key="order-7")
    again = await client.submit("size", LARGE, key="order-7")
    assert first.task_id == again.task_id
    with pytest.raises(IdempotencyConflict):
        await client.submit("size", LARGE | {"n": 1}, key="order-7")
    await first.result(20)
    assert (await client.submit("size", LARGE, key="order-7")).is_over


async def test_a_payload_that_is_gone_fails_for_good_and_says_so(client: Client, fleet: Fleet) -> None:
    await fleet.connection.api(f"STREAM.PURGE.{fleet.subjects.objects_stream}")
    ref = ref_of(b"never stored")
    envelope = {"kind": "size", "task_id": "t1", "payload_ref": {"sha256": ref.sha256, "size": ref.size}}
    await fleet.connection.publish(fleet.subjects.task("size", 5, "t1"), dump(envelope))
    story = await fleet.ended("t1", TaskState.DEAD)
    assert story.attempt == 1
    assert story.errors[0].error_class.value == "invalid_input"
    assert ref.sha256 in story.errors[0].message


async def test_a_corrupt_payload_never_reaches_a_handler(client: Client, fleet: Fleet) -> None:
    await client.submit("size", LARGE)
    bucket, stream = fleet.subjects.objects_bucket, fleet.subjects.objects_stream
    await fleet.connection.api(f"STREAM.PURGE.{stream}", {"filter": f"$O.{bucket}.C.>", "keep": 1})
    page = await client.reader.tasks.last_of([f"$O.{bucket}.nothing"])
    assert page == []
    upload = (await fleet.connection.api(f"STREAM.INFO.{stream}", {"subjects_filter": f"$O.{bucket}.C.>"}))[
        "state"
    ]["subjects"]
    for subject in upload:
        for _ in range(10):
            await fleet.connection.publish(subject, b"z" * 131_072)
    await fleet.connection.settle()
    task = await client.submit("size", LARGE)
    view = await ended(task)
    assert view.state is TaskState.DEAD
    assert view.error["code"] == "invalid_input"
    assert "ObjectCorrupt" in view.error["message"]


async def test_an_object_over_the_bound_is_refused_before_anything_is_sent(
    settings: NatsSettings, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_LARGEST_OBJECT_BYTES", "500000")
    async with Client(settings=settings, fleet=fleet.subjects.fleet) as small:
        with pytest.raises(PayloadTooLarge, match="over the limit of 500000 bytes"):
            await small.submit("size", "x" * 500_000)
        assert await (await small.submit("size", "x" * 400_000)).result(20) == 400_000
        big = await small.submit("echo", ["x" * 100_000, "y" * 200_000])
        await big.result(20)
    assert await objects(fleet) == 5 + 4


async def test_the_submit_request_takes_a_large_payload_or_a_reference(fleet: Fleet, client: Client) -> None:
    async def ask(body: bytes) -> Any:
        return load((await fleet.connection.request(fleet.subjects.submit, body, 10)).data)

    text = "x" * 500_000
    given = await ask(json.dumps({"kind": "size", "payload": text}).encode())
    assert await (await client.task(given["task_id"])).result(20) == 500_000
    ref = ref_of(dump(text))
    named = {"kind": "size", "payload_ref": {"sha256": ref.sha256, "size": ref.size}}
    again = await ask(json.dumps(named).encode())
    assert await (await client.task(again["task_id"])).result(20) == 500_000
    named["payload_ref"] = {"sha256": "0" * 64, "size": 7}
    refused = error_from_wire(await ask(json.dumps(named).encode()))
    assert refused is not None
    assert refused.code == "object_missing"


async def test_a_result_waits_on_disk_while_the_store_is_away_and_is_recorded_then(
    server: Any, client: Client, fleet: Fleet
) -> None:
    task = await client.submit("echo", {"text": "x" * 2_000_000})
    server.kill()
    await server.start()
    assert len((await task.result(60))["text"]) == 2_000_000


async def test_rest_takes_and_gives_large_bodies(settings: NatsSettings, fleet: Fleet) -> None:
    async with RunningBridge(settings, fleet.subjects.fleet) as bridge:
        answer = await bridge.http.post("/api/v1/tasks", json={"kind": "echo", "payload": LARGE})
        assert answer.status_code == 201, answer.text
        task_id = answer.json()["task_id"]
        assert answer.json()["payload_ref"]["size"] > MAX_ENVELOPE_BYTES
        await fleet.ended(task_id)
        shown = (await bridge.http.get(f"/api/v1/tasks/{task_id}")).json()
        assert (shown["payload"], shown["result"]) == (None, None)
        assert shown["result_ref"] == shown["payload_ref"]
        for what in ("payload", "result"):
            assert (await bridge.http.get(f"/api/v1/tasks/{task_id}/{what}")).json() == LARGE
        assert (await bridge.http.get("/api/v1/tasks/nobody/result")).status_code == 404


async def test_a_result_that_has_expired_is_named(client: Client, fleet: Fleet) -> None:
    task = await client.submit("echo", LARGE)
    await task.result(20)
    await fleet.connection.api(f"STREAM.PURGE.{fleet.subjects.objects_stream}")
    with pytest.raises(ObjectMissing, match="not in the store"):
        await task.result(20)
