"""Bodies: what goes in comes out, and nothing that arrives can do more than be refused."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.broker.codec import MAX_DEPTH, Format, decode, dump, encode, load, sniff
from outrider.broker.errors import DecodeError, InvalidTask, PayloadTooLarge
from outrider.broker.messages import MAX_PAYLOAD_DEPTH, Assignment, TaskEnvelope
from outrider.broker.routing import RouteReason
from outrider.ledger.entries import Assigned, decode_entry

text = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=15,
)
maps = st.dictionaries(text, values, max_size=5)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@settings(deadline=None)
@given(maps, st.sampled_from(Format))
def test_a_body_survives_both_formats(body: dict[str, Any], fmt: Format) -> None:
    data = dump(body, fmt)
    assert sniff(data) is fmt
    assert load(data) == body


@settings(deadline=None)
@given(values, st.sampled_from(Format))
def test_a_message_survives_both_formats(payload: Any, fmt: Format) -> None:
    sent = Assignment("t-1", "echo", 1, 12, 12, payload, deadline_at=1.5)
    assert decode(Assignment, encode(sent, fmt)) == sent


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_whatever_arrives_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(DecodeError, PayloadTooLarge):
        assert isinstance(decode(TaskEnvelope, data), TaskEnvelope)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"kind=echo",
        b"{",
        b'{"kind": }',
        b'{"kind": NaN}',
        b'{"kind": -Infinity}',
        b'{"payload": 18446744073709551616}',
        b'{"payload": 1' + b"0" * 5000 + b"}",
        b'{"payload": "\\ud800"}',
        b'{"a": 1}{"a": 2}',
        b"\xff\xfe",
        b"\x81\xa4kin",
        b"\x82\xa1a\x01",
        b"\x81\xa1a\xa2\xff\xff",
        b"\x81\x01\x02",
        b"\x81\xa1a\xc7\x01\x05x",
        b"\xc1",
        b"\x80\x80",
        b"\xdf\xff\xff\xff\xff",
    ],
)
def test_a_malformed_body_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        load(data)
    assert caught.value.code == "malformed"
    assert caught.value.hint


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 100_000])
def test_depth_bombs_are_refused(levels: int) -> None:
    with pytest.raises(DecodeError):
        load(b"[" * levels + b"1" + b"]" * levels)
    with pytest.raises(DecodeError):
        load(b"\x91" * levels + b"\x01")


def test_the_greatest_depth_is_taken() -> None:
    assert load(dump(nested(MAX_DEPTH))) == nested(MAX_DEPTH)


def test_the_deepest_payload_fits_into_the_entry_that_carries_it() -> None:
    envelope = TaskEnvelope("echo", nested(MAX_PAYLOAD_DEPTH), "t-1").check()
    entry = Assigned("t-1", 1, "a", "i", 0, "echo", 5, RouteReason.COLD, envelope=envelope)
    assert decode_entry(encode(entry)) == entry
    with pytest.raises(InvalidTask, match="deeper"):
        TaskEnvelope("echo", nested(MAX_PAYLOAD_DEPTH + 1), "t-1").check()


def test_a_body_over_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(PayloadTooLarge, match="101 bytes"):
        load(b"{" * 101, limit=100)


def test_json_is_answered_in_json_and_an_empty_request_too() -> None:
    assert sniff(b'  \n                  {"a": 1}') is Format.JSON
    assert sniff(b"") is Format.JSON
    assert sniff(b"nonsense typed by somebody") is Format.JSON
    assert sniff(dump({})) is Format.MSGPACK


def test_what_json_cannot_say_is_put_as_near_as_it_comes() -> None:
    value = {"nan": math.nan, "far": [math.inf, 1.5], "raw": b"\xffok", "deep": {b"key": None, 3: ()}}
    assert json.loads(dump(value, Format.JSON)) == {
        "nan": None,
        "far": [None, 1.5],
        "raw": "\ufffdok",
        "deep": {"key": None, "3": []},
    }


def test_what_neither_format_can_say_is_refused() -> None:
    for fmt in Format:
        with pytest.raises(DecodeError, match="cannot be written"):
            dump({"thing": object()}, fmt)


def test_bytes_travel_in_messagepack() -> None:
    assert load(dump({"raw": b"\x00\xff"})) == {"raw": b"\x00\xff"}
    assert load(msgpack.packb({"raw": b"\x00"})) == {"raw": b"\x00"}
