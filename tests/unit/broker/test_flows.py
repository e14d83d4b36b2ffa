"""What may wait for what, checked before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.broker.codec import decode, dump, encode, load
from outrider.broker.errors import InvalidTask, OutriderError
from outrider.broker.flows import MOST_AFTER, OnFailure, member_id, member_of
from outrider.broker.messages import TaskEnvelope


def test_a_task_that_waits_for_nothing_looks_on_the_wire_as_before() -> None:
    assert {"after", "group", "on_failure"} & decode_map(TaskEnvelope("echo", task_id="t")).keys() == set()


def decode_map(envelope: TaskEnvelope) -> dict[str, Any]:
    value: dict[str, Any] = load(encode(envelope))
    return value


def test_what_a_task_waits_for_survives_the_wire() -> None:
    body = dump({"kind": "echo", "task_id": "t", "after": ["a", "b", "a"], "on_failure": "run"})
    waits = decode(TaskEnvelope, body).check().waits
    assert waits is not None
    assert (waits.after, waits.on_failure) == (("a", "b"), OnFailure.RUN)


@pytest.mark.parametrize(
    "fields",
    [
        {"after": ("t",)},
        {"after": ("not a name",)},
        {"after": tuple(f"p{n}" for n in range(MOST_AFTER + 1))},
        {"after_group": "g"},
        {"after_group": "g", "after_group_size": 0},
        {"after_group": "g", "after_group_size": 1_000_000},
        {"after_group": "g" * 60, "after_group_size": 3},
        {"group": "g", "group_size": 3},
        {"task_id": "g-3", "group": "g", "group_size": 3},
        {"task_id": "g-01", "group": "g", "group_size": 3},
        {"task_id": "g-1", "group": "g", "group_size": 3, "after": ("g-2",)},
        {"task_id": "g-1", "group": "g", "group_size": 3, "after_group": "g", "after_group_size": 3},
    ],
)
def test_what_cannot_be_waited_for_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(OutriderError):
        TaskEnvelope("echo", **{"task_id": "t", **fields}).check()


def test_a_member_may_wait_for_an_earlier_one_and_for_another_group() -> None:
    TaskEnvelope("echo", task_id="g-2", group="g", group_size=3, after=("g-1", "g-0")).check()
    TaskEnvelope("echo", task_id="g-2", group="g", group_size=3, after_group="f", after_group_size=9).check()


def test_the_error_says_how_to_wait_for_more() -> None:
    with pytest.raises(InvalidTask) as caught:
        TaskEnvelope("echo", task_id="t", after=tuple(f"p{n}" for n in range(101))).check()
    assert "group" in caught.value.hint


@pytest.mark.parametrize("name", ["g-07", "g", "-1", "g-x", "g-²"])
def test_other_names_are_no_members(name: str) -> None:
    assert member_of(name) is None
    assert member_of(member_id("my-group", 12)) == ("my-group", 12)
