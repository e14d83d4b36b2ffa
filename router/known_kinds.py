"""What the kinds that ship usually look like, so that the first task of a new fleet has a prediction.

Pure. Rough by intent: a few real observations outweigh it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Typical:
    """A kind's usual service seconds, their spread (in natural logarithms) and the usual facts."""

    service_s: float
    spread: float
    prompt_chars: int = 0
    max_tokens: int = 0
    asked_s: float = 0.0


KNOWN_KINDS: dict[str, Typical] = {
    "chat": Typical(2.0, 0.5, prompt_chars=300, max_tokens=128),
    "summarize": Typical(2.5, 0.5, prompt_chars=1500, max_tokens=128),
    "classify": Typical(0.8, 0.4, prompt_chars=400, max_tokens=16),
    "extract": Typical(1.5, 0.4, prompt_chars=800, max_tokens=64),
    "echo": Typical(0.002, 0.5, prompt_chars=40),
    "sleep": Typical(1.0, 0.1, asked_s=1.0),
}
UNKNOWN_KIND = Typical(1.0, 0.7)
