"""Errors as `application/problem+json`: what happened and what to do, with the right status.

Knows the codes of `broker/errors.py` and nothing of routes.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.responses import Response

from outrider.broker.errors import OutriderError

STATUS = {
    "not_found": 404,
    "agent_not_found": 404,
    "unknown_kind": 404,
    "object_missing": 404,
    "object_corrupt": 502,
    "payload_too_large": 413,
    "queue_full": 429,
    "idempotency_conflict": 409,
    "refused": 409,
    "invalid_name": 400,
    "invalid_task": 400,
    "malformed": 400,
    "nats_unavailable": 503,
    "nobody_answers": 503,
    "outcome_unknown": 503,
    "timed_out": 504,
    "not_permitted": 502,
    "wrong_credentials": 502,
}
RETRY_AFTER_S = {429: "2", 503: "2", 504: "2"}


def problem(status: int, code: str, detail: str, hint: str = "") -> Response:
    """One error answer."""
    phrase = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": phrase, "status": status, "code": code, "detail": detail}
    headers = {"Retry-After": RETRY_AFTER_S[status]} if status in RETRY_AFTER_S else {}
    return Response(json.dumps(body | {"hint": hint}), status, headers, media_type="application/problem+json")


def problem_of(error: OutriderError) -> Response:
    """The answer that names an error of ours."""
    return problem(STATUS.get(error.code, 500), error.code, error.message, error.hint)
