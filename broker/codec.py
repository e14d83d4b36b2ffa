"""Bytes to messages and back: MessagePack between programs, JSON for people, size and depth bounded.

Pure: does not know what any message means. A body in JSON is answered in JSON.
"""

from __future__ import annotations

import json
import math
from enum import Enum
from math import isfinite
from typing import Any, NoReturn, TypeVar

import msgpack

from outrider.broker.errors import DecodeError, PayloadTooLarge
from outrider.broker.schema import from_map, is_deeper_than, to_map

T = TypeVar("T")

MAX_ENVELOPE_BYTES = 256 * 1024
"""Largest task envelope that travels inline."""
MAX_BODY_BYTES = 1024 * 1024 - 64 * 1024
"""Largest body of any message: the server's default max_payload less room for headers."""
MAX_DEPTH = 64
_CONTAINERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""First bytes of MessagePack's lists and maps."""
_FIRST_NOT_TEXT = 0x80
"""Every MessagePack map, list and text begins with a byte from here on; no text in ASCII does."""


class Format(Enum):
    """How a body is written."""

    MSGPACK = "msgpack"
    JSON = "json"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def finite(text: str) -> float:
    """A number of JSON text, as `parse_float` of json.loads. Raises ValueError for one beyond all numbers."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return value


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _for_people(value: Any) -> Any:
    """What MessagePack carries and JSON cannot, put as near as JSON comes: NaN is null, a key is text."""
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(_for_people(k)): _for_people(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_people(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return _jsonable(value) if isinstance(value, bytes) else value


_write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_jsonable).encode


def _as_json(value: Any) -> bytes:
    try:
        return _write_json(value).encode()
    except (TypeError, ValueError):
        return _write_json(_for_people(value)).encode()


def dump(value: Any, fmt: Format = Format.MSGPACK) -> bytes:
    """Bytes of a plain value. Raises DecodeError when it holds what the format cannot carry."""
    try:
        packed = _as_json(value) if fmt is Format.JSON else msgpack.packb(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DecodeError(f"value cannot be written as {fmt.value}: {error}") from None
    return packed or b""


def sniff(data: bytes) -> Format:
    """MessagePack when the first byte begins a map, list or text of it; else somebody typed, so JSON."""
    return Format.MSGPACK if data and data[0] >= _FIRST_NOT_TEXT else Format.JSON


def _no_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code} is not carried")


def _unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, ext_hook=_no_extension)


def _parsed(data: bytes) -> Any:
    value = json.loads(data, parse_constant=_no_constant, parse_float=finite)
    # Whatever comes in as JSON goes on as MessagePack, which knows no number over 64 bits.
    msgpack.packb(value)
    return value


def _openers(data: bytes) -> int:
    """At least as many as lists and maps begin in a body, so that shallow ones need no walk."""
    if sniff(data) is Format.JSON:
        return data.count(b"{") + data.count(b"[")
    return len(data) - len(data.translate(None, _CONTAINERS))


def load(data: bytes, limit: int = MAX_BODY_BYTES) -> Any:
    """The plain value of a JSON or MessagePack body.

    Raises PayloadTooLarge over `limit` bytes and DecodeError for anything that is not one whole value.
    """
    if len(data) > limit:
        raise PayloadTooLarge(f"body of {len(data)} bytes is over the limit of {limit} bytes")
    try:
        value = _parsed(data) if sniff(data) is Format.JSON else _unpacked(data)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        why = str(error) or type(error).__name__
        raise DecodeError(f"body is neither JSON nor MessagePack: {why}") from None
    if _openers(data) > MAX_DEPTH and is_deeper_than(MAX_DEPTH, value):
        raise DecodeError(f"body is nested deeper than {MAX_DEPTH} levels")
    return value


def encode(message: Any, fmt: Format = Format.MSGPACK) -> bytes:
    """Bytes of a typed message."""
    return dump(to_map(message), fmt)


def decode(kind: type[T], data: bytes, limit: int = MAX_BODY_BYTES) -> T:
    """The typed, checked message in a body. Raises DecodeError or PayloadTooLarge."""
    return from_map(kind, load(data, limit))
