"""What was decided about the fleet's models, in order, and what follows: which serves, what a rollback means.

Pure. The newest decision names the version that serves; the bucket keeps them, the models are elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from outrider.broker.codec import Format, dump, load
from outrider.broker.errors import DecodeError, OutriderError, Refused
from outrider.broker.schema import from_map, to_map
from outrider.broker.subjects import NAME

SHIPPED_NAME = "shipped"


class Outcome(StrEnum):
    """What was decided."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


class Trigger(StrEnum):
    """What a training or a rollback was started by."""

    ASKED = "asked"
    SCHEDULE = "schedule"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `serves` is the version that serves after it, empty for the shipped one."""

    outcome: Outcome
    serves: str = ""
    version: str = ""
    """The model that was judged, empty when there were too few rows to train one."""
    why: str = ""
    trigger: Trigger = Trigger.ASKED
    by: str = ""
    rows: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    """Public half of the key that signed the version. For people: it is never trusted."""
    seq: int = 0
    """Its place in the stream; what reading gives, nobody writes it."""
    at: float = 0.0
    """The server's clock when it was stored; likewise."""

    @property
    def serving(self) -> str | None:
        return self.serves or None

    def error_judged(self) -> float | None:
        """The mean log error, on the newest slice, of what serves since; None when nothing was judged."""
        own = self.metrics.get("model" if self.outcome is Outcome.PROMOTED else "serving")
        error = own.get("mae_log") if isinstance(own, dict) else None
        return float(error) if isinstance(error, (int, float)) and 0 < error < float("inf") else None


def written(decision: Decision) -> bytes:
    """JSON, so that `nats stream view` shows it to people."""
    body = {name: value for name, value in to_map(decision).items() if name not in ("seq", "at")}
    return dump(body, Format.JSON)


def read(data: bytes, seq: int, at: float) -> Decision:
    """Raises DecodeError."""
    try:
        body = load(data)
        if not isinstance(body, dict):
            raise DecodeError("a decision is a map")
        decision = from_map(Decision, body | {"seq": seq, "at": at})
    except OutriderError as error:
        raise DecodeError(f"decision {seq} about models cannot be read: {error.message}") from None
    if decision.serves and not NAME.fullmatch(decision.serves):
        raise DecodeError(f"decision {seq} about models names {decision.serves[:80]!r}, which is no version")
    return decision


def last_training(decisions: Sequence[Decision]) -> Decision | None:
    return next((d for d in reversed(decisions) if d.outcome is not Outcome.ROLLED_BACK), None)


def is_held(decisions: Sequence[Decision]) -> bool:
    """Whether a rollback stands: until somebody trains by hand, nothing is trained or promoted by itself."""
    for decision in reversed(decisions):
        if decision.outcome is Outcome.ROLLED_BACK:
            return True
        if decision.trigger is Trigger.ASKED:
            return False
    return False


def served_before(decisions: Sequence[Decision]) -> str:
    """What served before the version that serves now; a rollback takes one step back, a second one another.

    Raises Refused when nothing did.
    """
    served = [""]
    for decision in decisions:
        if decision.outcome is Outcome.PROMOTED:
            served.append(decision.serves)
        elif decision.outcome is Outcome.ROLLED_BACK:
            # What was rolled back is no place to come back to.
            served = [*_until(served, decision.serves), decision.serves]
    if len(served) < 2:
        raise Refused("the shipped model serves: there is nothing to go back to")
    return served[-2]


def _until(served: list[str], version: str) -> list[str]:
    return served[: served.index(version)] if version in served else served


def in_words(decision: Decision) -> str:
    """A decision on one line: what was judged, the outcome, the reason, and what serves."""
    outcome = decision.outcome.replace("_", " ")
    by = f" by {decision.by}" if decision.by else ""
    what = decision.version or (SHIPPED_NAME if decision.outcome is Outcome.ROLLED_BACK else "-")
    then = f"{shown_name(decision.serves)} shall serve"
    return f"model {what} {outcome} ({decision.trigger}{by}): {decision.why}; {then}"


def shown_name(version: str) -> str:
    return version or SHIPPED_NAME
