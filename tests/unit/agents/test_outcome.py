"""Every exception gets one class of the closed set, and every result travels or says why not."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from outrider.agents import TaskError
from outrider.agents.outcome import (
    classify,
    encode_outcome,
    fault_in,
    redact,
    with_result_inside,
    without_result,
)
from outrider.agents.provider_errors import retry_after_s
from outrider.broker.codec import decode, load
from outrider.broker.errors import (
    DecodeError,
    InvalidTask,
    ObjectCorrupt,
    ObjectMissing,
    PayloadTooLarge,
    TimedOut,
)
from outrider.broker.object_ref import ref_of
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import ErrorClass


@pytest.mark.parametrize(
    ("problem", "error_class", "can_retry"),
    [
        (TaskError("quota", "no money"), ErrorClass.QUOTA, False),
        (TaskError("quota", "top-up is due", retryable=True), ErrorClass.QUOTA, True),
        (ValueError("x"), ErrorClass.HANDLER, True),
        (TimeoutError(), ErrorClass.TIMEOUT, True),
        (ConnectionResetError("x"), ErrorClass.CONNECTION, True),
        (InvalidTask("x"), ErrorClass.INVALID_INPUT, False),
        (PayloadTooLarge("x"), ErrorClass.TOO_LARGE, False),
        (DecodeError("x"), ErrorClass.BAD_OUTPUT, True),
        (SystemExit(3), ErrorClass.HANDLER, True),
        (MemoryError(), ErrorClass.HANDLER, True),
        (ObjectMissing("x"), ErrorClass.INVALID_INPUT, False),
        (ObjectCorrupt("x"), ErrorClass.INVALID_INPUT, False),
        (TimedOut("x"), ErrorClass.CONNECTION, True),
    ],
)
def test_exceptions_get_their_class(problem: BaseException, error_class: ErrorClass, can_retry: bool) -> None:
    error = classify(problem)
    assert (error.error_class, error.retryable) == (error_class, can_retry)
    assert error.message


def test_a_task_error_knows_only_classes_of_the_set() -> None:
    with pytest.raises(ValueError, match="bored"):
        TaskError("bored", "x")


def test_messages_are_one_bounded_line_without_keys() -> None:
    error = classify(RuntimeError("bad sk-abcdefgh12345\nline " + "x" * 5000))
    assert "sk-abc" not in error.message
    assert "\n" not in error.message
    assert len(error.message) <= 500
    assert redact("key sk-proj-ABC_def-123456 used") == "key [key] used"


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, "ü", b"\x00", [], [1, [2]], (1, 2), {"a": {"b": [None]}}]
)
def test_plain_values_can_travel(value: Any) -> None:
    assert fault_in(value) == ""


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("inf"), "result is inf"),
        ({"a": [0, {"b": float("nan")}]}, "result.a[1].b is nan"),
        ({"a": {2: 3}}, "result.a has the key 2"),
        ([{1, 2}], "result[0] is a set"),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "result is a datetime"),
    ],
)
def test_other_values_are_named_with_their_place(value: Any, says: str) -> None:
    assert says in fault_in(value)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_written_can_be_read_by_everybody_down_to_the_deepest_level() -> None:
    for levels in (62, 63, 64, 65, 2000):
        data = encode_outcome(Succeeded("t", 1, "a", 5, nested(levels)), 100_000).data
        entry = load(data)  # a reader refuses what is too deep
        assert entry["type"] == ("succeeded" if levels <= 63 else "failed")


def test_a_result_over_the_limit_becomes_a_failure_that_keeps_the_rest() -> None:
    given = Succeeded("t", 2, "a", 5, "x" * 1000, service_s=1.5, at=9.0)
    failed = decode(Failed, encode_outcome(given, 900).data)
    assert failed.error.error_class is ErrorClass.TOO_LARGE
    assert (failed.task_id, failed.attempt, failed.epoch, failed.service_s, failed.at) == (
        "t",
        2,
        5,
        1.5,
        9.0,
    )
    assert decode(Succeeded, encode_outcome(given, 2000).data) == given


def test_a_result_over_the_limit_is_left_to_the_object_store_up_to_its_bound() -> None:
    given = Succeeded("t", 2, "a", 5, "x" * 1000, service_s=1.5, at=9.0)
    sent = encode_outcome(given, 900, 2000)
    entry = decode(Succeeded, sent.data)
    assert (entry.result, entry.result_ref, entry.service_s) == (None, ref_of(sent.body), 1.5)
    assert load(sent.body) == "x" * 1000
    assert decode(Succeeded, with_result_inside(sent.data, sent.body)) == given
    failed = decode(Failed, without_result(sent.data, "the store takes 10 bytes"))
    assert (failed.error.error_class, failed.error.retryable) == (ErrorClass.TOO_LARGE, False)
    assert (failed.attempt, failed.service_s) == (2, 1.5)
    too_much = decode(Failed, encode_outcome(given, 900, 1000).data)
    assert "over the limit of 1000 bytes" in too_much.error.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "1e9"}, 3600.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
