"""What the `openai` SDK raises, as attempt errors. Knows the SDK only if a handler has imported it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isnan
from typing import Any

from outrider.broker.messages import AttemptError
from outrider.broker.states import RETRYABLE, ErrorClass

LONGEST_RETRY_AFTER_S = 3600.0

_BY_STATUS = {
    400: ErrorClass.INVALID_INPUT,
    401: ErrorClass.UNAUTHORIZED,
    402: ErrorClass.QUOTA,
    403: ErrorClass.UNAUTHORIZED,
    408: ErrorClass.TIMEOUT,
    413: ErrorClass.TOO_LARGE,
    422: ErrorClass.INVALID_INPUT,
    429: ErrorClass.RATE_LIMITED,
    504: ErrorClass.TIMEOUT,
}
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def classify_provider(problem: BaseException) -> AttemptError | None:
    """The attempt error of anything the SDK or its HTTP client raised, else None."""
    sdk: Any = sys.modules.get("openai")
    if sdk is None:
        return None
    if isinstance(problem, sdk.APIStatusError):
        return _from_status(problem)
    if isinstance(problem, sdk.APITimeoutError):
        return _error(ErrorClass.TIMEOUT, "the model endpoint did not answer in time")
    if isinstance(problem, sdk.APIConnectionError):
        return _error(ErrorClass.CONNECTION, f"connection to the model endpoint failed: {_cause(problem)}")
    if isinstance(problem, sdk.OpenAIError):
        return _error(ErrorClass.PROVIDER, f"the model endpoint gave nonsense: {problem}")
    return _from_http_client(problem)


def _from_http_client(problem: BaseException) -> AttemptError | None:
    http: Any = sys.modules.get("httpx2")
    if http is None:
        return None
    if isinstance(problem, http.TimeoutException):
        return _error(ErrorClass.TIMEOUT, "the model endpoint did not answer in time")
    if isinstance(problem, http.TransportError):
        return _error(ErrorClass.CONNECTION, f"connection to the model endpoint broke: {_cause(problem)}")
    return None


def _from_status(problem: Any) -> AttemptError:
    status = int(problem.status_code)
    error_class = _BY_STATUS.get(status, ErrorClass.PROVIDER)
    if error_class is ErrorClass.RATE_LIMITED and str(problem.code) in _QUOTA_CODES:
        error_class = ErrorClass.QUOTA
    if error_class is ErrorClass.UNAUTHORIZED:
        # The provider's own words repeat parts of the key.
        return _error(error_class, f"the model endpoint refused the key or the model (HTTP {status})")
    message = f"the model endpoint answered HTTP {status}: {_said(problem)}"
    can_retry = error_class in RETRYABLE and status not in (404, 405, 501)
    return AttemptError(error_class, message, can_retry, retry_after_s(problem.response.headers))


def _said(problem: Any) -> str:
    body = problem.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])
    return str(problem.message)


def _cause(problem: BaseException) -> str:
    inner = problem.__cause__ or problem
    return str(inner) or type(inner).__name__


def _error(error_class: ErrorClass, message: str) -> AttemptError:
    return AttemptError(error_class, message, error_class in RETRYABLE)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: `retry-after-ms`, or `Retry-After` as seconds or date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return _bounded(float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        return _bounded(parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError):
        return None


def _bounded(seconds: float) -> float | None:
    return None if isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)
