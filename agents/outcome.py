"""How an attempt ended, in the words of the ledger: the entry, its bytes, and the class of an error.

Pure: sends nothing. `classify` is the one place where exceptions become the closed set of classes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from outrider.agents.provider_errors import classify_provider
from outrider.broker.codec import MAX_DEPTH, dump, encode, load
from outrider.broker.errors import (
    DecodeError,
    InvalidName,
    InvalidTask,
    NatsUnavailable,
    NobodyAnswers,
    ObjectCorrupt,
    ObjectMissing,
    OutriderError,
    PayloadTooLarge,
    TimedOut,
)
from outrider.broker.messages import AttemptError
from outrider.broker.object_ref import ObjectRef, ref_of
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import RETRYABLE, ErrorClass

LONGEST_MESSAGE = 500
RESULT_DEPTH = MAX_DEPTH - 1
"""The result is one level down in its entry, and readers bound the depth of the whole."""

_KEY_LIKE = re.compile(r"\b(?:sk|key|pk)-[A-Za-z0-9_*-]{6,}")


class TaskError(OutriderError):
    """A handler says how its attempt failed.

    `retryable` defaults to what the class implies; `retry_after_s` asks for at least that pause.
    """

    code = "task_error"

    def __init__(
        self,
        error_class: ErrorClass | str,
        message: str,
        *,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error_class = ErrorClass(error_class)
        self.retryable = self.error_class in RETRYABLE if retryable is None else retryable
        self.retry_after_s = retry_after_s


def redact(text: str) -> str:
    """The text without anything that looks like an API key."""
    return _KEY_LIKE.sub("[key]", text)


def attempt_error(
    error_class: ErrorClass,
    message: str,
    *,
    retryable: bool | None = None,
    retry_after_s: float | None = None,
) -> AttemptError:
    """An AttemptError with a bounded message, without keys; retryable as its class implies unless said."""
    text = redact(" ".join(message.split()))
    short = text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
    can_retry = error_class in RETRYABLE if retryable is None else retryable
    # No line of text can carry a lone surrogate over the wire.
    return AttemptError(error_class, short.encode("utf-8", "replace").decode(), can_retry, retry_after_s)


def classify(problem: BaseException) -> AttemptError:
    """The class of whatever a handler raised."""
    if isinstance(problem, TaskError):
        return attempt_error(
            problem.error_class,
            problem.message,
            retryable=problem.retryable,
            retry_after_s=problem.retry_after_s,
        )
    provider = classify_provider(problem)
    if provider is not None:
        return attempt_error(
            provider.error_class,
            provider.message,
            retryable=provider.retryable,
            retry_after_s=provider.retry_after_s,
        )
    return attempt_error(_class_of(problem), f"{type(problem).__name__}: {problem}")


def _class_of(problem: BaseException) -> ErrorClass:
    if isinstance(problem, (InvalidTask, InvalidName, ObjectMissing, ObjectCorrupt)):
        return ErrorClass.INVALID_INPUT
    if isinstance(problem, PayloadTooLarge):
        return ErrorClass.TOO_LARGE
    if isinstance(problem, DecodeError):
        return ErrorClass.BAD_OUTPUT
    if isinstance(problem, TimeoutError):
        return ErrorClass.TIMEOUT
    if isinstance(problem, (ConnectionError, NatsUnavailable, NobodyAnswers, TimedOut)):
        return ErrorClass.CONNECTION
    return ErrorClass.HANDLER


def fault_in(value: Any, path: str = "result", left: int = RESULT_DEPTH) -> str:
    """Why a value cannot travel as MessagePack and JSON, naming the place; empty when it can."""
    if value is None or isinstance(value, (str, bool, int, bytes)):
        return ""
    if isinstance(value, float):
        return "" if isfinite(value) else f"{path} is {value}, which JSON cannot carry"
    if left == 0:
        return f"{path} is nested deeper than {RESULT_DEPTH} levels"
    if isinstance(value, dict):
        return _fault_in_map(value, path, left)
    if isinstance(value, (list, tuple)):
        faults = (fault_in(item, f"{path}[{n}]", left - 1) for n, item in enumerate(value))
        return next(filter(None, faults), "")
    return f"{path} is a {type(value).__name__}, not text, number, list or map"


def _fault_in_map(value: dict[Any, Any], path: str, left: int) -> str:
    for key, item in value.items():
        if not isinstance(key, str):
            return f"{path} has the key {key!r}, which is not text"
        fault = fault_in(item, f"{path}.{key}", left - 1)
        if fault:
            return fault
    return ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of an entry, and the result that lies beside it because it is too large."""

    data: bytes
    ref: ObjectRef | None = None
    body: bytes = b""


def encode_outcome(outcome: Succeeded | Failed, limit: int, largest: int = 0) -> Encoded:
    """The entry in at most `limit` bytes; a larger result is left to the object store, up to `largest` bytes.

    A result that cannot travel becomes a failure that says why.
    """
    if isinstance(outcome, Failed):
        return Encoded(encode(outcome))
    fault = fault_in(outcome.result)
    if fault:
        return _refused(outcome, attempt_error(ErrorClass.BAD_OUTPUT, fault, retryable=False))
    try:
        data = encode(outcome)
    except DecodeError as problem:
        return _refused(outcome, attempt_error(ErrorClass.BAD_OUTPUT, problem.message, retryable=False))
    if len(data) <= limit:
        return Encoded(data)
    if len(data) > max(limit, largest):
        return _refused(outcome, attempt_error(ErrorClass.TOO_LARGE, _over(len(data), max(limit, largest))))
    body = dump(outcome.result)
    ref = ref_of(body)
    return Encoded(encode(replace(outcome, result=None, result_ref=ref)), ref, body)


def with_result_inside(data: bytes, body: bytes) -> bytes:
    """The entry of a large result without the object store: as large as both together."""
    entry = load(data)
    entry.pop("result_ref")
    return dump(entry | {"result": load(body, len(body))})


def without_result(data: bytes, why: str) -> bytes:
    """The entry of a large result that nobody can store, as a failure."""
    entry = load(data)
    entry.pop("result_ref")
    error = {"error_class": ErrorClass.TOO_LARGE.value, "message": why, "retryable": False}
    return dump(entry | {"type": "failed", "error": error})


def _refused(outcome: Succeeded, why: AttemptError) -> Encoded:
    who = (outcome.task_id, outcome.attempt, outcome.agent_id, outcome.epoch)
    return Encoded(encode(Failed(*who, why, outcome.service_s, outcome.usage, outcome.at)))


def _over(size: int, limit: int) -> str:
    return (
        f"result of {size} bytes is over the limit of {limit} bytes; keep it elsewhere and return its address"
    )
