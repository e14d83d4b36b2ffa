"""What passes `pack` can be read by everybody; what cannot is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.broker.codec import decode
from outrider.broker.errors import InvalidName, InvalidTask, OutriderError, PayloadTooLarge
from outrider.broker.messages import TaskEnvelope
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
        (NewTask("chat", "x" * 300_000), PayloadTooLarge),
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
