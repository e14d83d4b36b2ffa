"""A small OpenAI-compatible endpoint on loopback for tests: real HTTP, timing and faults under control.

Serves `POST /v1/chat/completions` (streaming). What it does next is scripted with `script`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `then` says what happens after the pieces."""

    pieces: Sequence[str] = ("Hello", ", ", "world")
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    tokens_in: int = 11
    with_usage: bool = True
    finish_reason: str = "stop"
    then: str = "finish"
    """finish, hang (say nothing more), drop (close the connection), garbage (a line that is no JSON)."""
    silent: bool = False
    """Take the request and never answer."""
    piece_s: float = 0.0
    """Seconds before each piece."""


class OpenAIServer:
    """Use as an async context manager; `base_url` is for the SDK."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.disconnected = asyncio.Event()
        """Set when a client went away while an answer was under way."""
        self._script: deque[Reply] = deque()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._never = asyncio.Event()
        self.base_url = ""

    def script(self, *replies: Reply) -> None:
        """The next answers; afterwards it says hello."""
        self._script.extend(replies)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        body = json.loads(await reader.readexactly(length) or b"{}")
        self.keys.append(head.partition("authorization: bearer ")[2].partition("\r\n")[0])
        self.requests.append(body)
        reply = self._script.popleft() if self._script else Reply()
        if reply.silent:
            await self._until_gone(reader)
            return False
        if reply.error is not None or reply.status != 200:
            _write_head(writer, reply, "application/json")
            _write_chunk(writer, json.dumps({"error": reply.error or {"message": "scripted"}}))
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        await self._stream(reader, writer, reply, str(body.get("model")))
        return reply.then == "finish"

    async def _until_gone(self, reader: asyncio.StreamReader) -> None:
        await reader.read(1)
        self.disconnected.set()

    async def _pause(self, seconds: float) -> None:
        if seconds:
            try:
                await asyncio.wait_for(self._never.wait(), seconds)
            except TimeoutError:
                return

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply, model: str
    ) -> None:
        _write_head(writer, reply, "text/event-stream")
        for piece in reply.pieces:
            await self._pause(reply.piece_s)
            _event(writer, model, [{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
            await writer.drain()
        if reply.then == "hang":
            await self._until_gone(reader)
        elif reply.then == "garbage":
            _write_chunk(writer, 'data: {"choices": [{"delta"\n\n')
        elif reply.then == "finish":
            _event(writer, model, [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}])
            if reply.with_usage:
                used = {"prompt_tokens": reply.tokens_in, "completion_tokens": len(reply.pieces)}
                _event(writer, model, [], used | {"total_tokens": reply.tokens_in + len(reply.pieces)})
            _write_chunk(writer, "data: [DONE]\n\n")
            writer.write(b"0\r\n\r\n")
        await writer.drain()


def _write_head(writer: asyncio.StreamWriter, reply: Reply, content_type: str) -> None:
    lines = [
        f"HTTP/1.1 {reply.status} scripted",
        f"content-type: {content_type}",
        "transfer-encoding: chunked",
    ]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())


def _write_chunk(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _event(
    writer: asyncio.StreamWriter,
    model: str,
    choices: list[dict[str, Any]],
    usage: dict[str, int] | None = None,
) -> None:
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    _write_chunk(writer, f"data: {json.dumps(body | {'usage': usage})}\n\n")
