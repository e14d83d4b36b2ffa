"""What is asked and answered about when a task would finish: `<fleet>.estimate`.

Pure: shapes and their own consistency. Durations end in `_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from outrider.broker.codec import encode
from outrider.broker.errors import InvalidTask
from outrider.broker.facts import TaskFacts, facts_of
from outrider.broker.messages import DEFAULT_PRIORITY, LONGEST_TASK_S, VERSION, TaskEnvelope, check_label
from outrider.broker.routing import Candidate
from outrider.broker.subjects import check_name, check_priority


def facts_when_queued(kind: str, payload: Any, priority: int, requires: tuple[str, ...]) -> TaskFacts:
    """What will be known of such a task once it is queued: its size is that of the whole envelope."""
    task_id = "0" * 32
    envelope = TaskEnvelope(kind, payload, task_id, priority, requires=requires, submitted_at=1.0)
    return facts_of(payload, len(encode(envelope)))


@dataclass(frozen=True, slots=True)
class EstimateRequest:
    """A task that somebody may submit; request to `<fleet>.estimate`."""

    kind: str
    payload: Any = None
    priority: int = DEFAULT_PRIORITY
    deadline_s: float | None = None
    requires: tuple[str, ...] = ()
    limit_key: str | None = None
    facts: TaskFacts | None = None
    """Sizes of the payload, instead of the payload itself."""
    v: int = VERSION

    def check(self) -> EstimateRequest:
        """The request itself when its fields make sense. Raises InvalidName or InvalidTask."""
        check_name(self.kind, "kind")
        check_priority(self.priority)
        for label in self.requires:
            check_label(label)
        if self.limit_key is not None:
            check_name(self.limit_key, "limit_key")
        if self.deadline_s is not None and not 0 < self.deadline_s <= LONGEST_TASK_S:
            raise InvalidTask(f"deadline_s {self.deadline_s} is not between 0 and {LONGEST_TASK_S:.0f}")
        return self


class EstimateBasis(StrEnum):
    """Where the service part comes from."""

    ROUTER = "router"
    AVERAGES = "averages"
    """The orchestrator's moving averages: no router answered in time."""
    GUESS = "guess"
    """Nobody answered and no agent ever did such a task."""


class CanMeet(StrEnum):
    """Whether a deadline can be met."""

    YES = "yes"
    UNLIKELY = "unlikely"
    """The p90 lies after it."""
    NO = "no"
    """Even the p50 lies after it."""
    UNKNOWN = "unknown"
    """Nobody can tell when the task would start."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a task would finish that is submitted now; all seconds count from now.

    Without agents online, or while the kind is paused, there are no seconds and `warning` says why.
    """

    kind: str
    priority: int
    basis: EstimateBasis
    p50_s: float | None = None
    p90_s: float | None = None
    waiting_s: float | None = None
    service_s: float | None = None
    ahead: int = 0
    """Tasks of the kind that wait with the same or a higher priority."""
    agents: int = 0
    """Agents online for the kind, with the labels."""
    slots: int = 0
    agent: str | None = None
    """The best candidate as things are now."""
    model: str = ""
    candidates: tuple[Candidate, ...] = ()
    can_meet: CanMeet | None = None
    """Only with a deadline."""
    deadline_s: float | None = None
    warning: str | None = None
    v: int = VERSION

    def about_deadline(self) -> str | None:
        """What to tell somebody whose deadline is in doubt; None when it is not."""
        if self.deadline_s is None or self.can_meet in (None, CanMeet.YES):
            return None
        if self.p50_s is None or self.p90_s is None:
            late = _seconds(self.deadline_s)
            return f"nobody can tell whether the deadline of {late} can be met: {self.warning}"
        how = "cannot be met" if self.can_meet is CanMeet.NO else "will hardly be met"
        late, p50, p90 = map(_seconds, (self.deadline_s, self.p50_s, self.p90_s))
        return f"the deadline of {late} {how}: predicted finish p50 {p50}, p90 {p90}"


def _seconds(value: float) -> str:
    """Three digits that can be compared: deadlines and finishes are told alike."""
    if value < 0.9995:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s" if value < 999.5 else f"{value:.0f} s"


def can_meet(deadline_s: float, p50_s: float | None, p90_s: float | None) -> CanMeet:
    """Whether such a finish is in time."""
    if p50_s is None or p90_s is None:
        return CanMeet.UNKNOWN
    if p50_s > deadline_s:
        return CanMeet.NO
    return CanMeet.UNLIKELY if p90_s > deadline_s else CanMeet.YES
