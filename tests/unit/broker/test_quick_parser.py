"""The quick parser hears exactly what nats-py's own hears, however the bytes are cut."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from outrider.broker.quick_parser import MUCH, QuickParser

Heard = list[tuple[Any, ...]]


class Ear:
    """Stands where the client stands: notes what a parser calls."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self.writes = 0
        self.linger_s = 0.0
        self.lingered = 0

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
        self.heard.append((sid, bytes(subject), bytes(reply), bytes(data), bytes(headers or b"")))

    async def _process_ping(self) -> None:
        self.heard.append(("ping",))

    async def _process_pong(self) -> None:
        self.heard.append(("pong",))

    async def _process_err(self, text: str) -> None:
        self.heard.append(("err", text))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.heard.append(("info", str(info)))

    def write_now(self) -> None:
        self.writes += 1

    async def linger(self) -> None:
        self.lingered += 1


def message(subject: str, sid: int, reply: str, headers: bytes, body: bytes) -> bytes:
    middle = f"{subject} {sid} {reply} " if reply else f"{subject} {sid} "
    if headers:
        return (
            f"HMSG {middle}{len(headers)} {len(headers) + len(body)}\r\n".encode() + headers + body + b"\r\n"
        )
    return f"MSG {middle}{len(body)}\r\n".encode() + body + b"\r\n"


SUBJECTS = st.text("abc.-_", min_size=1, max_size=6)
MESSAGES = st.builds(
    message,
    SUBJECTS,
    st.integers(1, 99),
    st.one_of(st.just(""), SUBJECTS),
    st.sampled_from([b"", b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0 503\r\n\r\n"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\r\n", b"PING\r\n", b"MSG a 1 2\r\n"])),
)
OTHERS = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b'INFO {"a":1}\r\n', b"-ERR 'Stale'\r\n"])


def heard_by(kind: type[Parser], pieces: list[bytes]) -> Heard:
    ear = Ear()
    parser = kind(ear)

    async def feed() -> None:
        for piece in pieces:
            await parser.parse(piece)

    asyncio.run(feed())
    return ear.heard


@given(st.lists(st.one_of(MESSAGES, MESSAGES, OTHERS), max_size=8), st.lists(st.integers(0, 400), max_size=6))
def test_it_hears_what_nats_py_hears(parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(parts)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    assert heard_by(QuickParser, pieces) == heard_by(Parser, pieces)


def test_nonsense_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        heard_by(QuickParser, [b"MSG only\r\n"])


def test_what_callbacks_published_is_written_after_each_piece() -> None:
    ear = Ear()
    asyncio.run(QuickParser(ear).parse(message("a", 1, "", b"", b"x")))
    assert ear.writes == 1


def test_who_is_in_no_hurry_lingers_unless_there_is_much() -> None:
    ear = Ear()
    ear.linger_s = 0.02
    parser = QuickParser(ear)
    asyncio.run(parser.parse(message("a", 1, "", b"", b"x")))
    assert ear.lingered == 1
    asyncio.run(parser.parse(message("a", 1, "", b"", b"x" * MUCH)))
    assert ear.lingered == 1
