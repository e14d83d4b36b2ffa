"""The body of a submission: read with a bound, checked field by field.

Knows requests and the wire's own checks, not where a task goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from outrider.broker.codec import MAX_ENVELOPE_BYTES, Format, load, sniff
from outrider.broker.errors import DecodeError, InvalidTask, PayloadTooLarge
from outrider.broker.messages import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY
from outrider.broker.schema import from_map

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
    eta: bool = False
    refuse_late: bool = False


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
        "eta": {"type": "boolean", "description": "answer also when it is predicted to finish"},
        "refuse_late": {"type": "boolean", "description": "refuse it if deadline_s cannot be met"},
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
    value = await read_json(request, largest)
    try:
        submission = from_map(Submission, value)
    except DecodeError as error:
        raise DecodeError(error.message, hint=JSON_HINT) from None
    unknown = set(value) - set(SUBMISSION_SCHEMA["properties"])
    if unknown:
        raise InvalidTask(f"unknown field {min(unknown)!r}", hint=JSON_HINT)
    return submission


def one_key(submission: Submission, header: str | None) -> str | None:
    """The idempotency key of body or header. Raises InvalidTask when they differ."""
    if header is not None and submission.key not in (None, header):
        raise InvalidTask("the header Idempotency-Key and the field key differ")
    return submission.key if header is None else header
