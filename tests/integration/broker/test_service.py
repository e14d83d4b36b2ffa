"""Endpoints answer in the format they were asked in, name every error, and survive their handlers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from outrider.broker.codec import decode, encode, load, sniff
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, QueueFull, error_from_wire
from outrider.broker.messages import Done, TaskRequest
from outrider.broker.server import PrivateServer
from outrider.broker.service import Endpoints


class Handlers:
    """What the endpoints of these tests do."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.started = 0

    async def echo(self, _: str, data: bytes) -> TaskRequest:
        return decode(TaskRequest, data)

    async def wait(self, _: str, __: bytes) -> Done:
        self.started += 1
        await self.release.wait()
        return Done(in_flight=self.started)

    async def refuse(self, _: str, __: bytes) -> Done:
        raise QueueFull("no room\r\nX-Header: injected\tö")

    async def fail(self, _: str, __: bytes) -> Done:
        raise LookupError("a bug with a secret")

    async def flood(self, _: str, __: bytes) -> dict[str, Any]:
        return {"text": "x" * 2_000_000}


@pytest.fixture
async def handlers(connection: Connection) -> AsyncIterator[Handlers]:
    handlers = Handlers()
    endpoints = Endpoints(connection, "test-service", "1.2.3", "for tests")
    await endpoints.start()
    for name in ("echo", "wait", "refuse", "fail", "flood"):
        await endpoints.add(name, f"x.{name}", getattr(handlers, name), queue="q")
    await connection.settle()
    yield handlers
    handlers.release.set()
    await endpoints.stop()


async def test_the_answer_comes_in_the_format_of_the_request(
    connection: Connection, handlers: Handlers
) -> None:
    request = TaskRequest("t-1", "why")
    packed = await connection.request("x.echo", encode(request))
    assert decode(TaskRequest, packed.data) == request
    said = await connection.request("x.echo", b'{"task_id": "t-1", "reason": "why"}')
    assert json.loads(said.data) == {"task_id": "t-1", "reason": "why"}
    assert sniff(packed.data) is not sniff(said.data)


@pytest.mark.parametrize("body", [b"", b"what?", b"{}", b'{"task_id": 5}', b"\x80", b"\xc1\xff"])
async def test_nonsense_is_answered_with_a_named_error(
    connection: Connection, handlers: Handlers, body: bytes
) -> None:
    answer = await connection.request("x.echo", body)
    error = load(answer.data)["error"]
    assert error["code"] == "malformed"
    assert error["message"]
    assert answer.headers["Nats-Service-Error-Code"] == "400"


async def test_an_error_stands_in_body_and_headers_and_breaks_neither(
    connection: Connection, handlers: Handlers
) -> None:
    answer = await connection.request("x.refuse", b"{}")
    assert isinstance(error_from_wire(load(answer.data)), QueueFull)
    assert answer.headers["Nats-Service-Error-Code"] == "429"
    assert answer.headers["Nats-Service-Error"].startswith("no room")
    assert "X-Header" not in answer.headers


async def test_a_bug_of_a_handler_is_answered_without_its_secrets(
    connection: Connection, handlers: Handlers
) -> None:
    answer = await connection.request("x.fail", b"{}")
    assert load(answer.data)["error"]["code"] == "error"
    assert b"secret" not in answer.data
    assert (await connection.request("x.echo", b'{"task_id": "t"}')).data


async def test_an_answer_over_the_servers_limit_is_an_error_that_says_so(
    connection: Connection, handlers: Handlers
) -> None:
    answer = await connection.request("x.flood", b"{}")
    assert load(answer.data)["error"]["code"] == "payload_too_large"


async def test_slow_requests_do_not_stop_others(connection: Connection, handlers: Handlers) -> None:
    waiting = [asyncio.create_task(connection.request("x.wait", b"{}", 10)) for _ in range(5)]
    await connection.request("x.echo", b'{"task_id": "t"}')

    while handlers.started < 5:
        await connection.request("x.echo", b'{"task_id": "t"}')
    handlers.release.set()
    answers = [load(answer.data) for answer in await asyncio.gather(*waiting)]
    assert answers == [{"ok": True, "in_flight": 5}] * 5


async def test_a_service_can_be_found(connection: Connection, handlers: Handlers) -> None:
    info = json.loads((await connection.request("$SRV.INFO.test-service")).data)
    assert (info["version"], info["description"]) == ("1.2.3", "for tests")
    assert {endpoint["subject"] for endpoint in info["endpoints"]} >= {"x.echo", "x.fail"}


async def test_a_server_that_goes_away_while_a_service_starts_is_named(
    server: PrivateServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.client, "flush", partial(connection.client.flush, timeout=1))
    server.kill()
    with pytest.raises(NatsUnavailable, match="outrider-test"):
        await Endpoints(connection, "outrider-test", "1.0.0", "for a test").start()
