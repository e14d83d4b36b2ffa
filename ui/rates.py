"""Throughput and latency of the last minutes, from the finished tasks alone.

Pure: every call is given the time it speaks of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

WINDOW_S = 60.0
HISTORY_S = 300
AVERAGE_S = 10
SMOOTH_S = 5
MOST_SAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished task. `ratio` is actual over predicted service time, None without a prediction."""

    at: float
    sojourn_s: float | None
    waiting_s: float | None
    service_s: float | None
    ratio: float | None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value that `share` of the ordered values do not exceed (nearest rank); None without values."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


class Rates:
    """Counts finished tasks by second and keeps the newest samples of the last minute."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)
        self._by_second: dict[int, int] = {}

    def finished(self, sample: Sample) -> None:
        """One more task finished."""
        self._samples.append(sample)
        second = int(sample.at)
        self._by_second[second] = self._by_second.get(second, 0) + 1
        if len(self._by_second) > 2 * HISTORY_S:
            newest = max(self._by_second)
            self._by_second = {s: n for s, n in self._by_second.items() if s > newest - HISTORY_S}

    def per_second(self, second: int) -> int:
        """How many tasks finished in one second."""
        return self._by_second.get(second, 0)

    def average(self, now: float, over_s: int = AVERAGE_S) -> float:
        """Tasks a second over the last whole seconds."""
        last = int(now) - 1
        return sum(self.per_second(last - back) for back in range(over_s)) / over_s

    def latency(self, now: float) -> dict[str, float | None]:
        """p50 and p95 of sojourn, waiting and service time over the last minute, and the median ratio."""
        recent = [s for s in self._samples if now - WINDOW_S < s.at <= now + 1]
        sojourn = sorted(s.sojourn_s for s in recent if s.sojourn_s is not None)
        waiting = sorted(s.waiting_s for s in recent if s.waiting_s is not None)
        service = sorted(s.service_s for s in recent if s.service_s is not None)
        ratio = sorted(s.ratio for s in recent if s.ratio is not None)
        return {
            "p50_s": percentile(sojourn, 0.5),
            "p95_s": percentile(sojourn, 0.95),
            "waiting_p50_s": percentile(waiting, 0.5),
            "waiting_p95_s": percentile(waiting, 0.95),
            "service_p50_s": percentile(service, 0.5),
            "service_p95_s": percentile(service, 0.95),
            "ratio_p50": percentile(ratio, 0.5),
        }

    def point(self, now: float) -> dict[str, Any]:
        """What the charts show up to the last whole second; the rate is smoothed over five."""
        latency = self.latency(now)
        return {
            "at": int(now) - 1,
            "finished": self.average(now, SMOOTH_S),
            "p50_s": latency["p50_s"],
            "p95_s": latency["p95_s"],
        }
