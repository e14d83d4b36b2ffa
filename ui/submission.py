"""The body of a submission: read with a bound, checked field by field.

Knows requests and the wire's own checks, not where a task goes.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request

from outrider.broker.codec import MAX_ENVELOPE_BYTES, Format, load, sniff
from outrider.broker.errors import DecodeError, InvalidTask, PayloadTooLarge
from outrider.broker.flows import OnFailure
from outrider.broker.messages import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY
from outrider.broker.scheduling import OPTION_NAMES
from outrider.broker.schema import from_map

NOT_WITH_CRON = (*sorted(OPTION_NAMES - {"cron", "time_zone"}), "eta", "refuse_late", "after", "after_group")
"""A schedule is asked for without these; each option that is new is one of them by itself."""
JSON_HINT = 'send one JSON object, such as {"kind": "echo", "payload": "hello"}'


@dataclass(frozen=True, slots=True)
class Submission:
    """What `POST /api/v1/tasks` takes. `deadline_s` counts from now, `timeout_s` bounds one attempt."""

    kind: str
    payload: Any = None
    priority: int = DEFAULT_PRIORITY
    deadline_s: float | None = None
    timeout_s: float | None = None
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    requires: tuple[str, ...] = ()
    key: str | None = None
    hedge: bool = False
    eta: bool = False
    refuse_late: bool = False
    limit_key: str | None = None
    after: tuple[str, ...] = ()
    after_group: str | None = None
    on_failure: OnFailure | None = None
    delay_s: float | None = None
    run_at: float | None = None
    cron: str | None = None
    time_zone: str | None = None
    unique: bool = False
    unique_key: str | None = None
    debounce_s: float | None = None
    debounce_key: str | None = None

    @property
    def is_arranged(self) -> bool:
        """Whether it is for a later time, or may stand for a task that is there already."""
        return any((self.delay_s, self.run_at, self.unique, self.unique_key, self.debounce_s))

    def check(self) -> Submission:
        """The submission itself when its fields make sense together, as far as only this door can tell.

        Raises InvalidTask.
        """
        if self.time_zone is not None and self.cron is None:
            raise InvalidTask("time_zone goes with cron only", hint="run_at says its own offset")
        if self.cron is not None:
            others = [name for name in NOT_WITH_CRON if _is_given(getattr(self, name))]
            if others:
                raise InvalidTask(f"cron and {others[0]} exclude each other", hint="give one of them")
        return self


def _is_given(value: Any) -> bool:
    """Whether a field says something; 0 and an empty text do, if only something wrong."""
    return value is not None and value is not False and value != ()


SUBMISSION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["kind"],
    "properties": {
        "kind": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
        "payload": {"description": "anything JSON can say; the kind's agents define its form"},
        "priority": {"type": "integer", "minimum": 0, "maximum": 9, "default": DEFAULT_PRIORITY},
        "deadline_s": {"type": "number", "exclusiveMinimum": 0, "description": "seconds from now"},
        "timeout_s": {"type": "number", "exclusiveMinimum": 0, "description": "seconds for one attempt"},
        "max_attempts": {"type": "integer", "minimum": 1, "default": DEFAULT_MAX_ATTEMPTS},
        "requires": {"type": "array", "items": {"type": "string"}, "description": "labels of the agent"},
        "key": {"type": "string", "description": "idempotency key; the header Idempotency-Key does the same"},
        "hedge": {
            "type": "boolean",
            "description": "a second agent may run it too, when it takes unusually long",
        },
        "eta": {"type": "boolean", "description": "answer also when it is predicted to finish"},
        "refuse_late": {"type": "boolean", "description": "refuse it if deadline_s cannot be met"},
        "limit_key": {"type": "string", "description": "whose limits it counts against, as a tenant's"},
        "after": {
            "type": "array",
            "items": {"type": "string"},
            "description": "ids of tasks that must have ended before it starts",
        },
        "after_group": {"type": "string", "description": "a group whose members must all have ended before"},
        "on_failure": {
            "enum": [policy.value for policy in OnFailure],
            "default": OnFailure.CANCEL.value,
            "description": "what becomes of it if one of those ends without success",
        },
        "delay_s": {"type": "number", "exclusiveMinimum": 0, "description": "it starts so much later"},
        "run_at": {
            "type": ["number", "string"],
            "description": "it starts then: seconds since 1970, or ISO 8601 with an offset",
        },
        "cron": {"type": "string", "description": "a new task at each fire; the answer is the schedule"},
        "time_zone": {"type": "string", "description": "of cron, as Europe/Berlin; without it UTC"},
        "unique": {"type": "boolean", "description": "while the same task is open, that one is the answer"},
        "unique_key": {"type": "string", "description": "the same by this key instead of the payload"},
        "debounce_s": {"type": "number", "description": "run the last one, after so long a quiet"},
        "debounce_key": {"type": "string", "description": "which submits debounce_s is about"},
    },
}


async def read_json(request: Request, limit: int = MAX_ENVELOPE_BYTES) -> Any:
    """The JSON value of a body. Raises PayloadTooLarge as soon as it is, and DecodeError."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise PayloadTooLarge(f"the body is over the limit of {limit} bytes")
    return _parsed(bytes(body), limit)


def _parsed(body: bytes, limit: int) -> Any:
    if sniff(body) is not Format.JSON:
        raise DecodeError("the body is not a JSON object", hint=JSON_HINT)
    return load(body, limit)


async def read_submission(request: Request, largest: int = MAX_ENVELOPE_BYTES) -> Submission:
    """The checked submission of a request, of at most `largest` bytes.

    Raises DecodeError, InvalidTask or PayloadTooLarge.
    """
    value = _with_instant(await read_json(request, largest))
    try:
        submission = from_map(Submission, value)
    except DecodeError as error:
        raise DecodeError(error.message, hint=JSON_HINT) from None
    unknown = set(value) - set(SUBMISSION_SCHEMA["properties"])
    if unknown:
        raise InvalidTask(f"unknown field {min(unknown)!r}", hint=_nearest(min(unknown)))
    return submission.check()


def _with_instant(value: Any) -> Any:
    """The body with a `run_at` in words as the number that it means. Raises InvalidTask."""
    if not isinstance(value, dict) or not isinstance(value.get("run_at"), str):
        return value
    try:
        at = datetime.fromisoformat(value["run_at"])
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidTask(
            f"run_at {value['run_at'][:60]!r} is no instant", hint="for example 2026-12-24T18:00:00+01:00"
        )
    return value | {"run_at": at.timestamp()}


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, SUBMISSION_SCHEMA["properties"], 1)
    return f"did you mean {near[0]}?" if near else JSON_HINT


def one_key(submission: Submission, header: str | None) -> str | None:
    """The idempotency key of body or header. Raises InvalidTask when they differ."""
    if header is not None and submission.key not in (None, header):
        raise InvalidTask("the header Idempotency-Key and the field key differ")
    return submission.key if header is None else header
