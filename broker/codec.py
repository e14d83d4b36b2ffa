"""Bytes to messages and back: MessagePack between programs, JSON for people, size and depth bounded.

Pure: does not know what any message means. A body in JSON is answered in JSON.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, NoReturn, TypeVar

import msgpack

from outrider.broker.errors import DecodeError, PayloadTooLarge
from outrider.broker.schema import from_map, to_map

T = TypeVar("T")

MAX_ENVELOPE_BYTES = 256 * 1024
"""Largest task envelope that travels inline."""
MAX_BODY_BYTES = 1024 * 1024 - 64 * 1024
"""Largest body of any message: the server's default max_payload less room for headers."""
MAX_DEPTH = 64


class Format(Enum):
    """How a body is written."""

    MSGPACK = "msgpack"
    JSON = "json"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dump(value: Any, fmt: Format = Format.MSGPACK) -> bytes:
    """Bytes of a plain value. Raises DecodeError when it holds what neither format can carry."""
    try:
        if fmt is Format.JSON:
            return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_jsonable).encode()
        packed = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DecodeError(f"value cannot be written as {fmt.value}: {error}") from None
    return packed or b""


def sniff(data: bytes) -> Format:
    """JSON when the first sign is `{`, `[` or `"`; no MessagePack map starts like that."""
    head = data[:16].lstrip()[:1]
    return Format.JSON if head in (b"{", b"[", b'"') else Format.MSGPACK


def _too_deep(value: Any, left: int) -> bool:
    if isinstance(value, dict):
        return left == 0 or any(_too_deep(v, left - 1) for v in value.values())
    if isinstance(value, (list, tuple)):
        return left == 0 or any(_too_deep(v, left - 1) for v in value)
    return False


def load(data: bytes, limit: int = MAX_BODY_BYTES) -> Any:
    """The plain value of a JSON or MessagePack body.

    Raises PayloadTooLarge over `limit` bytes and DecodeError for anything that is not one whole value.
    """
    if len(data) > limit:
        raise PayloadTooLarge(f"body of {len(data)} bytes is over the limit of {limit} bytes")
    try:
        if sniff(data) is Format.JSON:
            value = json.loads(data, parse_constant=_no_constant)
        else:
            value = msgpack.unpackb(data, raw=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise DecodeError(f"body is neither JSON nor MessagePack: {error}") from None
    if _too_deep(value, MAX_DEPTH):
        raise DecodeError(f"body is nested deeper than {MAX_DEPTH} levels")
    return value


def encode(message: Any, fmt: Format = Format.MSGPACK) -> bytes:
    """Bytes of a typed message."""
    return dump(to_map(message), fmt)


def decode(kind: type[T], data: bytes, limit: int = MAX_BODY_BYTES) -> T:
    """The typed, checked message in a body. Raises DecodeError or PayloadTooLarge."""
    return from_map(kind, load(data, limit))
