"""What passes `pack` can be read by everybody; what cannot is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.broker.codec import decode, load
from outrider.broker.errors import InvalidName, InvalidTask, OutriderError, PayloadTooLarge
from outrider.broker.messages import TaskEnvelope
from outrider.broker.object_ref import ref_of
from outrider.client.new_task import NewTask, pack


def test_the_bytes_hold_the_envelope() -> None:
    packed = pack(NewTask("chat", {"a": (1, 2)}, 2, deadline_s=10, timeout_s=3, requires=["gpu"]), 100.0)
    read = decode(TaskEnvelope, packed.data)
    assert read == packed.envelope
    assert (read.payload, read.priority, read.deadline_at) == ({"a": [1, 2]}, 2, 110.0)
    assert (read.submitted_at, read.requires) == (100.0, ("gpu",))


def test_a_key_names_the_task_for_every_client_and_chance_the_others() -> None:
    first, again = (pack(NewTask("chat", n, key="order-7"), 1.0) for n in (1, 2))
    assert first.task_id == again.task_id
    assert pack(NewTask("chat", key="order-8"), 1.0).task_id != first.task_id
    assert pack(NewTask("chat"), 1.0).task_id != pack(NewTask("chat"), 1.0).task_id


@pytest.mark.parametrize(
    ("task", "error"),
    [
        (NewTask("no.dots"), InvalidName),
        (NewTask(""), InvalidName),
        (NewTask("chat", priority=10), InvalidTask),
        (NewTask("chat", priority="5"), InvalidTask),  # type: ignore[arg-type]
        (NewTask("chat", priority=True), InvalidTask),
        (NewTask("chat", deadline_s=0), InvalidTask),
        (NewTask("chat", deadline_s="soon"), InvalidTask),  # type: ignore[arg-type]
        (NewTask("chat", timeout_s=-1), InvalidTask),
        (NewTask("chat", timeout_s=float("nan")), InvalidTask),
        (NewTask("chat", max_attempts=0), InvalidTask),
        (NewTask("chat", max_attempts="3"), InvalidTask),  # type: ignore[arg-type]
        (NewTask("chat", requires="gpu"), InvalidTask),
        (NewTask("chat", requires=["has blank"]), InvalidTask),
        (NewTask("chat", key=""), InvalidTask),
        (NewTask("chat", key=7), InvalidTask),  # type: ignore[arg-type]
        (NewTask("chat", {1: "a number as key"}), InvalidTask),
        (NewTask("chat", {"a": object()}), InvalidTask),
        (NewTask("chat", 2**70), InvalidTask),
        (NewTask("chat", "x" * (64 * 1024 * 1024)), PayloadTooLarge),
        (NewTask("chat", {"x": ["y" * 300_000, object()]}), InvalidTask),
    ],
)
def test_bad_input_is_one_named_error(task: NewTask, error: type[OutriderError]) -> None:
    with pytest.raises(error) as raised:
        pack(task, 1.0)
    assert raised.value.message


def test_a_payload_nested_without_end_is_refused() -> None:
    payload: Any = []
    for _ in range(200):
        payload = [payload]
    with pytest.raises(InvalidTask):
        pack(NewTask("chat", payload), 1.0)


def test_a_payload_over_the_inline_limit_is_set_apart_under_its_hash() -> None:
    small = pack(NewTask("chat", "x" * 200_000), 1.0)
    assert (small.envelope.payload_ref, small.body) == (None, b"")
    large = pack(NewTask("chat", "x" * 300_000, key="order-7"), 1.0)
    assert large.envelope.payload is None
    assert large.envelope.payload_ref == ref_of(large.body)
    assert load(large.body, 400_000) == "x" * 300_000
    assert len(large.data) < 1000
    assert decode(TaskEnvelope, large.data) == large.envelope


def test_the_same_work_is_the_same_whether_its_payload_travels_inside_or_not() -> None:
    payload = {"text": "x" * 262_000}
    apart = pack(NewTask("chat", payload, requires=["y" * 100]), 1.0).envelope
    inside = pack(NewTask("chat", payload), 1.0).envelope
    assert (apart.payload, inside.payload_ref) == (None, None)
    assert apart.is_same_work(inside)
    assert inside.is_same_work(apart)
    other = pack(NewTask("chat", {"text": "z" * 262_000}), 1.0).envelope
    assert not apart.is_same_work(other)
