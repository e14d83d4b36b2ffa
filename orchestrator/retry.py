"""How long a task waits between attempts: exponential backoff with full jitter, the same after a restart.

Pure: the jitter is drawn from a hash of (task_id, attempt), never from a random number.
"""

from __future__ import annotations

import hashlib


def draw(task_id: str, attempt: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(f"{task_id}/{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def backoff_s(
    task_id: str, attempt: int, first_s: float, cap_s: float, retry_after_s: float | None = None
) -> float:
    """Seconds to wait after `attempt` failed; a provider's `retry_after_s` wins over the formula.

    Full jitter: a uniform draw below min(cap, first * 2^(attempt - 1)) (AWS Architecture Blog, 2015).
    """
    if retry_after_s is not None and retry_after_s >= 0:
        return min(retry_after_s, 24 * 3600.0)
    return draw(task_id, attempt) * min(cap_s, first_s * 2.0 ** min(attempt - 1, 32))
