"""What can be known of a task's payload before it runs: the raw numbers that prediction starts from.

Pure, and it must never look at anything that is known only after completion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.broker.quick import quickly_made

_TEXT_FIELDS = ("text", "prompt", "content", "system", "instructions")
_DEPTH = 4


@quickly_made
@dataclass(frozen=True, slots=True)
class TaskFacts:
    """Sizes of one payload."""

    payload_bytes: int = 0
    prompt_chars: int = 0
    messages: int = 0
    max_tokens: int = 0
    asked_s: float = 0.0
    """Seconds of work that the payload itself names (`seconds`), 0 when it names none."""


def _chars(value: Any, depth: int = _DEPTH) -> int:
    if isinstance(value, str):
        return len(value)
    if depth and isinstance(value, dict):
        return sum(_chars(v, depth - 1) for v in value.values())
    if depth and isinstance(value, list):
        return sum(_chars(v, depth - 1) for v in value)
    return 0


def _number(value: Any, highest: float) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= highest:
        return float(value)
    return 0.0


def facts_of(payload: Any, payload_bytes: int) -> TaskFacts:
    """The facts of a payload; whatever it does not tell is 0."""
    if not isinstance(payload, dict):
        return TaskFacts(payload_bytes=payload_bytes, prompt_chars=_chars(payload))
    messages = payload.get("messages")
    texts = [payload[name] for name in _TEXT_FIELDS if name in payload]
    return TaskFacts(
        payload_bytes=payload_bytes,
        prompt_chars=_chars(texts) + _chars(messages),
        messages=len(messages) if isinstance(messages, list) else 0,
        max_tokens=int(_number(payload.get("max_tokens"), 1e7)),
        asked_s=_number(payload.get("seconds"), 1e6),
    )
