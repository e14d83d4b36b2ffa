"""When running attempts will end: conditional residual life, and when an agent's next slots get free.

Pure. An attempt that ran for long is probably a long one, so elapsed time is never simply subtracted.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from math import erfc, exp, log, sqrt

NARROWEST, WIDEST = 0.15, 1.2
"""Bounds of the spread (standard deviation of log seconds) that residual life is worked out with."""
LONGEST_S = 86_400.0
STUCK = 0.003
"""Share of attempts that hang: of one that ran far beyond what was expected, that is the likely reason."""
_ROOT_TWO = sqrt(2.0)


def mean_over_median(spread: float) -> float:
    """By which factor the mean of such durations lies above their median: they are skewed."""
    return exp(min(max(spread, 0.0), WIDEST) ** 2 / 2.0)


def residual_s(p50_s: float, spread: float, age_s: float) -> float:
    """Expected seconds until an attempt ends that has run for `age_s`.

    Log seconds are normal but for a few that hang; one that hangs will rather take as long again.
    """
    usual_s, longer = _usual_residual_s(p50_s, spread, age_s)
    hangs = STUCK / (STUCK + longer)
    return min(usual_s + hangs * max(0.0, age_s - usual_s), LONGEST_S)


def _usual_residual_s(p50_s: float, spread: float, age_s: float) -> tuple[float, float]:
    """The same of an attempt that does not hang, and the share of such attempts that runs for so long."""
    s = min(max(spread, NARROWEST), WIDEST)
    p50_s = max(p50_s, 1e-6)
    mean_s = p50_s * exp(s * s / 2.0)
    if age_s <= 0.0:
        return min(mean_s, LONGEST_S), 1.0
    z = (log(p50_s) - log(age_s)) / s
    longer = erfc(-z / _ROOT_TWO)
    if longer < 1e-9:
        # Far beyond what was expected: from here it may take a good share of what it took so far.
        return min(age_s * s / max(-z, 1.0), LONGEST_S), 0.0
    return max(0.0, mean_s * erfc(-(z + s) / _ROOT_TWO) / longer - age_s), longer / 2.0


def soonest(residuals: Iterable[float]) -> list[float]:
    """Expected seconds until the first, second, ... of several attempts ends.

    The first of several ends sooner than the one expected first: any of them may surprise.
    """
    ordered = sorted(residuals)
    found, rate = [], 0.0
    for number, residual in enumerate(ordered):
        found.append(residual)
        rate += 1.0 / max(residual, 1e-6)
        del number
    if len(ordered) > 1:
        found[0] = SURPRISE / rate + (1.0 - SURPRISE) * ordered[0]
    return found


SURPRISE = 0.5
"""How far the first end is drawn from the shortest expectation towards that of ends without memory."""


def slot_waits(ends: Sequence[float], slots: int, queued: int, count: int, service_s: float) -> list[float]:
    """Seconds until each of the next `count` tasks could start on a full agent, behind `queued` others."""
    heap = list(ends[:slots]) or [service_s]
    heap += [service_s] * (slots - len(heap))
    heapq.heapify(heap)
    waits = []
    for _ in range(queued + count):
        free_at = heap[0]
        waits.append(free_at)
        heapq.heapreplace(heap, free_at + service_s)
    return waits[queued:]
