"""A connection says what is wrong, and comes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import (
    NatsUnavailable,
    NobodyAnswers,
    NotPermitted,
    OutriderError,
    PayloadTooLarge,
    TimedOut,
    WrongCredentials,
)
from outrider.broker.server import PrivateServer, find_server
from tests.support.waiting import eventually

USERS = """
authorization { users: [
  { user: ann, password: right, permissions: { publish: ["open.>"], subscribe: ["open.>", "_INBOX.>"] } }
] }
"""


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a server that knows one user."""
    config = tmp_path / "users.conf"
    config.write_text(USERS)
    async with PrivateServer(config=config) as server:
        yield server.url


@pytest.mark.parametrize(("user", "password"), [("ann", "wrong"), ("bob", "right"), (None, None)])
async def test_wrong_credentials_are_named(guarded: str, user: str | None, password: str | None) -> None:
    settings = NatsSettings(url=guarded, user=user, password=password, source="test")
    with pytest.raises(WrongCredentials, match="refused the credentials") as caught:
        await Connection.open(settings, "test")
    assert guarded in str(caught.value)
    assert "right" not in str(caught.value) + caught.value.hint


async def test_a_missing_credentials_file_is_named() -> None:
    settings = NatsSettings(url="nats://127.0.0.1:9", creds="/no/such.creds", source="test")
    with pytest.raises(NatsUnavailable):
        await Connection.open(settings, "test")


async def test_a_subject_that_is_not_permitted_is_told(guarded: str) -> None:
    problems: asyncio.Queue[OutriderError] = asyncio.Queue()
    settings = NatsSettings(url=guarded, user="ann", password="right", source="test")
    async with await Connection.open(settings, "test") as connection:
        connection.on_problem(problems.put_nowait)
        await connection.publish("closed.door", b"knock")
        problem = await asyncio.wait_for(problems.get(), 20)
        assert isinstance(problem, NotPermitted)
        assert "closed.door" in str(problem)
        assert connection.is_connected


async def test_a_server_without_jetstream_is_told_from_a_missing_orchestrator(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *(str(find_server()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:

        async def url() -> str | None:
            found = [path.read_text() for path in tmp_path.glob("*.ports")]
            return found[0].split('"')[3] if found and '"nats' in found[0] else None

        settings = NatsSettings(url=await eventually(url, what="a port"), source="test")
        async with await Connection.open(settings, "test") as connection:
            with pytest.raises(NatsUnavailable, match="no JetStream") as caught:
                await connection.api("INFO")
            assert "-js" in caught.value.hint
    finally:
        child.terminate()
        await child.wait()


async def test_requests_end_in_an_answer_or_a_named_error(connection: Connection) -> None:
    async def answer(message: Any) -> None:
        await connection.publish(message.reply, b"pong:" + message.data)

    async def be_silent(_: Any) -> None:
        return

    await connection.subscribe("ask", answer)
    await connection.subscribe("silent", be_silent)
    assert (await connection.request("ask", b"ping")).data == b"pong:ping"
    with pytest.raises(NobodyAnswers, match="nobody"):
        await connection.request("nobody")
    with pytest.raises(TimedOut, match=r"silent within 0\.05 s"):
        await connection.request("silent", timeout_s=0.05)


async def test_a_message_over_the_servers_limit_is_refused_here(connection: Connection) -> None:
    too_much = b"x" * (connection.max_payload + 1)
    with pytest.raises(PayloadTooLarge, match=str(connection.max_payload)):
        await connection.publish("any", too_much)
    with pytest.raises(PayloadTooLarge):
        await connection.request("any", too_much)


async def test_a_crashed_server_is_found_again_with_all_subscriptions(
    server: PrivateServer, connection: Connection
) -> None:
    links: list[bool] = []
    heard = asyncio.Event()

    async def hear(_: Any) -> None:
        heard.set()

    connection.on_link(links.append)
    await connection.subscribe("news", hear)
    server.kill()

    async def is_down() -> bool:
        return links == [False]

    await eventually(is_down, 10, "the loss noticed")
    await server.start()

    async def is_back() -> bool:
        return links == [False, True]

    await eventually(is_back, 10, "the return noticed")
    await connection.publish("news", b"")
    await asyncio.wait_for(heard.wait(), 20)
    assert not connection.closed.is_set()


async def test_a_closed_connection_says_so(settings: NatsSettings) -> None:
    connection = await Connection.open(settings, "test")
    await connection.close()
    await asyncio.wait_for(connection.closed.wait(), 20)
    with pytest.raises(NatsUnavailable):
        await connection.publish("any", b"")
