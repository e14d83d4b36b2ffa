"""When a router has a new model trained: after a while, or when the serving one errs more than when judged.

Pure: what it knows of time and of the ledger is told to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from outrider.router.decisions import Trigger

REMEMBERED = 500
USUAL_ERROR = 0.4
"""Where no figure is known."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Settings: seconds, how many times the judged error is drift, the least new rows. 0 turns one off."""

    every_s: float
    drift: float
    gap_s: float
    fewest_rows: int


@dataclass(slots=True)
class LiveErrors:
    """How far the newest predictions were from what then happened, and how many ended since a training."""

    since: float = 0.0
    fresh: int = 0
    _newest: deque[tuple[float, float | None]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def note(self, at: float, error: float | None) -> None:
        """An attempt succeeded at `at`; its absolute log error, None when it was not predicted."""
        self._newest.append((at, error))
        self.fresh += at > self.since

    def trained(self, at: float) -> None:
        """Count anew from a training at `at`."""
        if at > self.since:
            self.since = at
            self.fresh = sum(ended_at > at for ended_at, _ in self._newest)

    def mean(self, fewest: int = 1) -> float | None:
        """Over the newest attempts since the training, None with fewer than `fewest`."""
        return _mean((error for at, error in self._newest if at > self.since), fewest)


def _mean(errors: Iterable[float | None], fewest: int) -> float | None:
    known = [error for error in errors if error is not None]
    return fmean(known) if len(known) >= fewest else None


def due(
    schedule: Schedule, live: LiveErrors, judged_error: float | None, since: float, now: float
) -> tuple[Trigger, str] | None:
    """Why to train now, None for not yet. `since` is the last training, or the router's start if later.

    Without enough new rows nothing is due: the same rows make the same model.
    """
    if live.fresh < schedule.fewest_rows:
        return None
    if schedule.every_s and now - live.since >= schedule.every_s and now - since >= schedule.gap_s:
        return Trigger.SCHEDULE, f"the last training is over {schedule.every_s:g} s ago"
    if not schedule.drift or now - since < schedule.gap_s:
        return None
    error = live.mean(min(schedule.fewest_rows, REMEMBERED // 2))
    limit = schedule.drift * (judged_error or USUAL_ERROR)
    if error is None or error <= limit:
        return None
    return Trigger.DRIFT, f"predictions err by {error:.3f} (mean log), more than {limit:.3f}"
