"""Frozen classes that are quick to make stay what they were."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from outrider.broker.quick import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    tags: dict[str, int] = field(default_factory=dict)


def test_defaults_are_those_of_the_dataclass() -> None:
    assert (Point(1).y, Point(1).tags, Point(x=1, y=5).y) == (2, {}, 5)
    assert Point(1).tags is not Point(1).tags


def test_it_stays_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Point(1).x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        object.__setattr__(Point(1), "z", 3)


def test_it_stays_equal_copied_and_replaced() -> None:
    point = Point(1, 3, {"a": 1})
    assert point == Point(1, 3, {"a": 1})
    assert point != Point(1)
    assert replace(point, x=7) == Point(7, 3, {"a": 1})
    assert copy.deepcopy(point) == point
    assert [f.name for f in fields(point)] == ["x", "y", "tags"]
    assert type(point) is Point


def test_a_missing_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'x'"):
        Point()  # type: ignore[call-arg]


def test_a_class_without_slots_is_refused() -> None:
    @dataclass(frozen=True)
    class Loose:
        x: int

    with pytest.raises(TypeError, match="Loose must be a dataclass with slots"):
        quickly_made(Loose)
