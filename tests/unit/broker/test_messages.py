"""Messages are checked field by field, and an error names the field."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from outrider.broker.errors import DecodeError, InvalidName, InvalidTask
from outrider.broker.messages import Heartbeat, Join, TaskEnvelope, task_id_of_key
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.schema import from_map, to_map
from outrider.broker.states import AgentState, ErrorClass

JOIN = {"agent_id": "a", "instance": "i", "kinds": ["echo"], "slots": 2}
FAILED: dict[str, Any] = {
    "task_id": "t",
    "attempt": 1,
    "agent_id": "a",
    "epoch": 3,
    "error": {"error_class": "timeout", "message": "slow", "retryable": True},
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"slots": "2"}, "slots: wanted a whole number, got str"),
        ({"slots": True}, "slots"),
        ({"slots": 2.0}, "slots"),
        ({"kinds": "echo"}, "kinds: wanted a list"),
        ({"kinds": ["echo", 1]}, "kinds: wanted text"),
        ({"kinds": None}, "kinds"),
        ({"labels": {"gpu": 1}}, "labels"),
        ({"spooled": [{"task_id": "t"}]}, "spooled.epoch is missing"),
        ({"spooled": ["t"]}, "spooled: wanted a map"),
        ({"agent_id": b"a"}, "agent_id"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(DecodeError, match=named):
        from_map(Join, JOIN | change)


@pytest.mark.parametrize("field", sorted(JOIN))
def test_a_missing_required_field_is_named(field: str) -> None:
    with pytest.raises(DecodeError, match=f"{field} is missing in Join"):
        from_map(Join, {name: value for name, value in JOIN.items() if name != field})


@pytest.mark.parametrize("body", [None, 5, "text", [], [["agent_id", "a"]]])
def test_a_body_that_is_no_map_is_refused(body: Any) -> None:
    with pytest.raises(DecodeError, match="wanted a map"):
        from_map(Join, body)


def test_unknown_fields_of_a_newer_peer_are_ignored() -> None:
    assert from_map(Join, JOIN | {"favourite_colour": "blue"}) == from_map(Join, JOIN)


def test_fields_that_are_none_are_not_sent() -> None:
    assert "deadline_at" not in to_map(TaskEnvelope("echo"))
    assert to_map(TaskEnvelope("echo", deadline_at=5.0))["deadline_at"] == 5.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, "5", False, []])
def test_a_number_must_be_one(value: Any) -> None:
    with pytest.raises(DecodeError, match="service_s: wanted a finite number"):
        from_map(Failed, FAILED | {"service_s": value})


def test_words_of_a_closed_set_are_checked() -> None:
    with pytest.raises(DecodeError, match=r"error\.error_class: wanted one of .*rate_limited"):
        from_map(Failed, FAILED | {"error": FAILED["error"] | {"error_class": "bad luck"}})
    with pytest.raises(DecodeError, match="state"):
        from_map(Heartbeat, {"agent_id": "a", "instance": "i", "state": [], "slots": 1})


def test_a_message_comes_back_as_it_went() -> None:
    failed = from_map(Failed, FAILED)
    assert failed.error.error_class is ErrorClass.TIMEOUT
    assert from_map(Failed, to_map(failed)) == failed
    beat = Heartbeat("a", "i", AgentState.DRAINING, 3, (1, 2), (9,), load={"cpu": 0.5})
    assert from_map(Heartbeat, to_map(beat)) == beat


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Succeeded("t", 1, "a", 3).result = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"priority": -1},
        {"priority": 10},
        {"priority": True},
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"timeout_s": 0.0},
        {"timeout_s": 1e9},
        {"requires": ("two words",)},
        {"requires": ("",)},
        {"requires": ("x" * 129,)},
        {"v": 2},
    ],
)
def test_a_task_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidTask):
        dataclasses.replace(TaskEnvelope("echo", task_id="t-1"), **change).check()


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "ä", "x" * 65, "a\n"])
def test_names_that_cannot_stand_in_a_subject_are_refused(name: str) -> None:
    for envelope in (TaskEnvelope(name, task_id="t-1"), TaskEnvelope("echo", task_id=name)):
        with pytest.raises(InvalidName, match="is not of the form"):
            envelope.check()


def test_an_idempotency_key_stands_for_one_task_id() -> None:
    assert task_id_of_key("order 7") == "k-0fc89f8ae19394b48debd6353bb9ad3393f3bc79"
    assert task_id_of_key("order 7") != task_id_of_key("order 8")
    TaskEnvelope("echo", task_id=task_id_of_key("any sign at all: ü . * >")).check()
    for key in ("", "x" * 257, 7, None):
        with pytest.raises(InvalidTask):
            task_id_of_key(key)
