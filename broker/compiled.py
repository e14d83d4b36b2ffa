"""Writes the Python function that builds a message class from a plain map, and the one that goes back.

Why: a task is decoded and encoded a dozen times on its way, and looking each field up in a table took a
third of that time. What these functions are not sure of they leave to the careful way in `schema.py`.
Pure: knows dataclasses, not what any message means.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

Build = Callable[[Any], Any]


class Unsure(Exception):
    """The value is unusual or wrong: the careful way must decide."""


_ABSENT = object()


class _Text:
    """Lines of a function, and the objects that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"Unsure": Unsure, "ABSENT": _ABSENT}

    def add(self, line: str, depth: int = 1) -> None:
        self.lines.append("    " * depth + line)

    def named(self, thing: Any, stem: str) -> str:
        name = f"{stem}_{len(self.names)}"
        self.names[name] = thing
        return name

    def function(self, header: str, what: type) -> Build:
        source = "\n".join([header, *self.lines])
        # Only names of dataclass fields, written in our own source, go into the text.
        exec(compile(source, f"<{what.__name__}>", "exec"), self.names)  # noqa: S102
        return cast(Build, self.names["made"])


@cache
def builder(kind: Hashable) -> Build:
    """A function from a plain map to a `kind`. It raises Unsure for all that is not plainly right."""
    cls = cast(type, kind)
    hints = get_type_hints(cls)
    text = _Text()
    text.add("if type(value) is not dict: raise Unsure")
    text.add("get = value.get")
    arguments = []
    for number, field in enumerate(fields(cast(Any, cls))):
        _read_field(text, f"v{number}", field, hints[field.name])
        arguments.append(f"{field.name}=v{number}" if field.kw_only else f"v{number}")
    text.add(f"return {text.named(cls, 'kind')}({', '.join(arguments)})")
    return text.function("def made(value):", cls)


def _read_field(text: _Text, var: str, field: Field[Any], hint: Any) -> None:
    inner, is_optional = _without_none(hint)
    if is_optional and field.default is None:
        text.add(f"{var} = get({field.name!r})")
        text.add(f"if {var} is not None:")
        _check(text, var, inner, 2)
        return
    text.add(f"{var} = get({field.name!r}, ABSENT)")
    if field.default is MISSING:
        text.add(f"if {var} is ABSENT: raise Unsure")
        _check(text, var, hint, 1)
    else:
        text.add(f"if {var} is ABSENT: {var} = {text.named(field.default, 'default')}")
        text.add("else:")
        _check(text, var, hint, 2)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        rest = [argument for argument in get_args(hint) if argument is not type(None)]
        return rest[0], len(rest) < len(get_args(hint))
    return hint, False


def _check(text: _Text, var: str, hint: Any, depth: int) -> None:
    """Lines after which `var` is what the message holds."""
    if hint is Any:
        text.add("pass", depth)
    elif hint in (str, int, bool, bytes):
        text.add(f"if type({var}) is not {hint.__name__}: raise Unsure", depth)
    elif hint is float:
        text.add(f"if type({var}) is not float or {var} - {var} != 0.0: raise Unsure", depth)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        members = text.named({member.value: member for member in hint}, "members")
        text.add(f"if type({var}) is not str or {var} not in {members}: raise Unsure", depth)
        text.add(f"{var} = {members}[{var}]", depth)
    elif isinstance(hint, type) and is_dataclass(hint):
        text.add(f"{var} = {text.named(builder(hint), 'build')}({var})", depth)
    elif get_origin(hint) in (list, tuple):
        _check_items(text, var, hint, depth)
    elif get_origin(hint) is dict and get_args(hint)[1] in (int, float):
        text.add(f"if type({var}) is not dict: raise Unsure", depth)
        text.add(f"for key, x in {var}.items():", depth)
        text.add("if type(key) is not str: raise Unsure", depth + 1)
        _check(text, "x", get_args(hint)[1], depth + 1)
    else:
        text.add("raise Unsure", depth)


def _check_items(text: _Text, var: str, hint: Any, depth: int) -> None:
    item = get_args(hint)[0]
    text.add(f"if type({var}) is not list: raise Unsure", depth)
    if isinstance(item, type) and is_dataclass(item):
        items = f"[{text.named(builder(item), 'build')}(x) for x in {var}]"
    elif item in (str, int):
        text.add(f"for x in {var}:", depth)
        text.add(f"if type(x) is not {item.__name__}: raise Unsure", depth + 1)
        items = var
    else:
        text.add("raise Unsure", depth)
        return
    text.add(f"{var} = {items}" if get_origin(hint) is list else f"{var} = tuple({items})", depth)


@cache
def flattener(kind: Hashable) -> Build:
    """A function from a `kind` to its plain map, without the fields that are None."""
    cls = cast(type, kind)
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cast(Any, cls))]
    text = _Text()
    text.add("out = {}")
    # What both formats carry as it is comes first, what holds messages of its own after it.
    for name in sorted(names, key=lambda name: _holds_message(hints[name])):
        text.add(f"value = message.{name}")
        text.add(f"if value is not None: out[{name!r}] = {_flat(text, hints[name])}")
    text.add("return out")
    return text.function("def made(message):", cls)


def _flat(text: _Text, hint: Any) -> str:
    if not _holds_message(hint):
        return "value"
    inner, _ = _without_none(hint)
    if isinstance(inner, type) and is_dataclass(inner):
        return f"{text.named(flattener(inner), 'flat')}(value)"
    item = get_args(inner)[0]
    return f"[{text.named(flattener(item), 'flat')}(x) for x in value]"


def _holds_message(hint: Any) -> bool:
    if isinstance(hint, type) and is_dataclass(hint):
        return True
    return any(_holds_message(argument) for argument in get_args(hint))
