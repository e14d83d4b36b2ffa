"""Counters and histograms for `/metrics`, with a bound on the labels that outsiders can choose.

Pure: knows entries and numbers, not the text format.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from outrider.ledger.calibration import Calibration
from outrider.ledger.entries import Assigned, Hedged

WAITING_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
TIME_BUCKETS = tuple(round(0.01 * 2**n, 2) for n in range(18))
MOST_KINDS = 50
OTHER = "other"


class Histogram:
    """Observations by upper bound; the last count is of those above every bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class Tally:
    """What happened since this bridge started reading, by kind."""

    def __init__(self) -> None:
        self.finished: Counter[tuple[str, str]] = Counter()
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.decisions: Counter[str] = Counter()
        self.waiting: dict[str, Histogram] = {}
        self.service: dict[str, Histogram] = {}
        self.sojourn: dict[str, Histogram] = {}
        self.ignored = 0
        self.hedged = 0
        """Second attempts beside a slow one."""
        self.calibration = Calibration()
        self._kinds: set[str] = set()

    def label(self, kind: str) -> str:
        """The kind itself, or `other` once there are too many."""
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            return OTHER
        self._kinds.add(kind)
        return kind

    def decided(self, entry: Assigned | Hedged) -> None:
        """An attempt was given to an agent."""
        self.decisions[entry.reason.value] += 1
        if isinstance(entry, Hedged):
            self.hedged += 1
        else:
            self._observe(self.waiting, entry.kind, entry.waiting_s, WAITING_BUCKETS)

    def attempt_ended(self, kind: str, outcome: str, service_s: float | None) -> None:
        """An attempt ended, however it did."""
        self.attempts[self.label(kind), outcome] += 1
        if service_s is not None:
            self._observe(self.service, kind, service_s, TIME_BUCKETS)

    def task_finished(self, kind: str, state: str, sojourn_s: float | None) -> None:
        """A task reached its terminal entry."""
        self.finished[self.label(kind), state] += 1
        if sojourn_s is not None:
            self._observe(self.sojourn, kind, sojourn_s, TIME_BUCKETS)

    def _observe(
        self, into: dict[str, Histogram], kind: str, value: float, bounds: tuple[float, ...]
    ) -> None:
        into.setdefault(self.label(kind), Histogram(bounds)).observe(value)
