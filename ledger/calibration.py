"""How true predictions were: the share of attempts that finished within their predicted p50 and p90.

Pure: fed with entries of the ledger, in its order. Only what the router predicted counts, and only attempts
that succeeded: how long a failure took says nothing of service.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.subjects import parse_ledger
from outrider.ledger.entries import Assigned, Hedged
from outrider.ledger.fold import Record, Story

WINDOW = 1_000
"""Attempts, the newest."""
PREDICTED = frozenset({RouteReason.MODEL, RouteReason.EXPLORE, RouteReason.COLD, RouteReason.ONLY_CANDIDATE})


@dataclass(frozen=True, slots=True)
class Coverage:
    """Shares of `attempts` that took at most their predicted p50 and p90; None without any."""

    attempts: int
    p50_coverage: float | None
    p90_coverage: float | None


class Calibration:
    """A moving window over the newest attempts."""

    def __init__(self, window: int = WINDOW) -> None:
        self._newest: deque[tuple[str, bool, bool]] = deque()
        self._window = window
        self._in_p50 = self._in_p90 = 0

    def ended(self, assigned: Assigned | Hedged | None, service_s: float) -> None:
        """An attempt that was assigned so succeeded after `service_s`."""
        if assigned is None or assigned.reason not in PREDICTED:
            return
        if assigned.p50_s is None or assigned.p90_s is None:
            return
        in_p50, in_p90 = service_s <= assigned.p50_s, service_s <= assigned.p90_s
        self._newest.append((assigned.kind, in_p50, in_p90))
        self._in_p50 += in_p50
        self._in_p90 += in_p90
        if len(self._newest) > self._window:
            _, was_in_p50, was_in_p90 = self._newest.popleft()
            self._in_p50 -= was_in_p50
            self._in_p90 -= was_in_p90

    def coverage(self) -> Coverage:
        """Of all kinds together."""
        return _coverage(len(self._newest), self._in_p50, self._in_p90)

    def by_kind(self) -> dict[str, Coverage]:
        """Of each kind in the window."""
        found: dict[str, list[tuple[bool, bool]]] = {}
        for kind, in_p50, in_p90 in self._newest:
            found.setdefault(kind, []).append((in_p50, in_p90))
        return {
            kind: _coverage(len(within), sum(p50 for p50, _ in within), sum(p90 for _, p90 in within))
            for kind, within in sorted(found.items())
        }


def _coverage(attempts: int, in_p50: int, in_p90: int) -> Coverage:
    if not attempts:
        return Coverage(0, None, None)
    return Coverage(attempts, in_p50 / attempts, in_p90 / attempts)


class CalibrationOfLedger:
    """The calibration of a part of the ledger; tasks that began before it do not count."""

    def __init__(self, window: int = WINDOW) -> None:
        self.calibration = Calibration(window)
        self._stories: dict[str, Story] = {}

    def entry(self, record: Record) -> None:
        """Fold the next entry."""
        task_id = record.entry.task_id
        story = self._stories.get(task_id)
        if story is None:
            if record.entry.epoch:
                return
            story = self._stories[task_id] = Story(task_id)
        ignored = story.apply(record.seq, parse_ledger(record.subject), record.entry, record.stored_at)
        if ignored is None and isinstance(record.entry, Succeeded):
            self.calibration.ended(story.assigned, record.entry.service_s)
        if story.is_terminal:
            del self._stories[task_id]
