"""Turns plain maps into typed, checked, frozen messages and back.

Pure: knows dataclasses, not what any message means. Unknown fields are ignored, so that a newer
peer may add some; a missing required field or a wrong type is a DecodeError that names the field.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from outrider.broker.compiled import Unsure, builder, flattener
from outrider.broker.errors import DecodeError

T = TypeVar("T")
Check = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    check: Check
    required: bool


def _wrong(value: Any, where: str, wanted: str) -> DecodeError:
    return DecodeError(f"field {where}: wanted {wanted}, got {type(value).__name__} {str(value)[:60]!r}")


def _number(value: Any, where: str) -> float:
    if type(value) is float and value - value == 0.0:  # neither infinite nor NaN
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):
            if isfinite(value):
                return float(value)
    raise _wrong(value, where, "a finite number")


NESTING = frozenset({dict, list, tuple})


def is_deeper_than(levels: int, value: Any) -> bool:
    """Whether lists and maps, as decoders make them, stand in each other more than `levels` deep."""
    level = [value]
    for _ in range(levels):
        level = [
            child
            for parent in level
            if type(parent) in NESTING
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in NESTING
        ]
        if not level:
            return False
    return any(type(value) in NESTING for value in level)


def _integer(value: Any, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _wrong(value, where, "a whole number")


def _exactly(kind: type, name: str) -> Check:
    def check(value: Any, where: str) -> Any:
        if isinstance(value, kind):
            return value
        raise _wrong(value, where, name)

    return check


def _member_of(kind: type[Enum]) -> Check:
    def check(value: Any, where: str) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise _wrong(value, where, "one of " + ", ".join(str(m.value) for m in kind)) from None

    return check


def _list_of(item: Check, build: Callable[[list[Any]], Any]) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, (list, tuple)):
            raise _wrong(value, where, "a list")
        return build([item(v, where) for v in value])

    return check


def _map_of(item: Check) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise _wrong(value, where, "a map with text keys")
        return {k: item(v, f"{where}.{k}") for k, v in value.items()}

    return check


def _optional(inner: Check) -> Check:
    def check(value: Any, where: str) -> Any:
        return None if value is None else inner(value, where)

    return check


def _anything(value: Any, where: str) -> Any:
    return value


def _nested(kind: type) -> Check:
    def check(value: Any, where: str) -> Any:
        return _with_care(kind, value, where)

    return check


_SIMPLE: dict[Any, Check] = {
    Any: _anything,
    str: _exactly(str, "text"),
    bool: _exactly(bool, "true or false"),
    bytes: _exactly(bytes, "bytes"),
    int: _integer,
    float: _number,
}


def _check_for(hint: Any) -> Check:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional(_check_for(next(a for a in args if a is not type(None))))
    if origin is list:
        return _list_of(_check_for(args[0]), list)
    if origin is tuple:
        return _list_of(_check_for(args[0]), tuple)
    if origin is dict:
        return _map_of(_check_for(args[1]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _member_of(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _nested(hint)
    raise TypeError(f"no check for {hint!r}")


@cache
def _plan(kind: Hashable) -> tuple[_Field, ...]:
    cls: Any = kind
    hints = get_type_hints(cls)
    return tuple(
        _Field(
            f.name,
            _check_for(hints[f.name]),
            f.default is MISSING and f.default_factory is MISSING,
        )
        for f in fields(cls)
    )


def from_map(kind: type[T], value: Any, where: str = "") -> T:
    """A checked `kind` from a decoded map. Raises DecodeError that names the field."""
    try:
        return cast(T, builder(cast(Hashable, kind))(value))
    except Unsure:
        return _with_care(kind, value, where)


def _with_care(kind: type[T], value: Any, where: str) -> T:
    if not isinstance(value, dict):
        raise _wrong(value, where or kind.__name__, "a map")
    given: dict[str, Any] = {}
    for field in _plan(cast(Hashable, kind)):
        name = field.name
        if name in value:
            given[name] = field.check(value[name], f"{where}.{name}" if where else name)
        elif field.required:
            raise DecodeError(f"field {f'{where}.{name}' if where else name} is missing in {kind.__name__}")
    return kind(**given)


def to_map(message: Any) -> dict[str, Any]:
    """The plain map of a message; fields that are None are left out."""
    return cast(dict[str, Any], flattener(cast(Hashable, type(message)))(message))
