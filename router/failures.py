"""How often an agent's attempts fail, what that costs, and when it is only probed. Knows no predictions.

Why two shares: the fast one follows an outage and is forgotten within minutes, the slow one remembers an
agent that now and then loses a task for long.
"""

from __future__ import annotations

from dataclasses import dataclass

FAST_MOVE, FAST_HALF_LIFE_S = 0.2, 60.0
SLOW_MOVE, SLOW_HALF_LIFE_S = 0.03, 1800.0
MOST_FAILING = 0.9
PROBE_FROM = 2
"""After so many failures in a row an agent gets one attempt at a time, until one succeeds."""
PROBE_FOR_S = 1800.0
"""That ends after so long without any attempt."""
FIRST_REST_S, LONGEST_REST_S = 0.5, 15.0
"""Pause before the next probe; doubles with each further failure in a row. What fails at once would else be
probed by one task after the other."""


def faded(value: float, age_s: float, half_life_s: float) -> float:
    """What is left of a value nobody confirmed for `age_s`: bad news expires."""
    return value and float(value * 0.5 ** (max(0.0, age_s) / half_life_s))


def retries_for(failing: float) -> float:
    """How many attempts fail before one succeeds, if such a share of them fails."""
    return 1.0 / (1.0 - failing) - 1.0


BARRED = retries_for(0.99)
"""Retries that a place is reckoned with beside a probe, or before the next: only for want of another."""


@dataclass(slots=True)
class Failures:
    """Of one agent. `count` is how many were seen, `in_a_row` how many tries failed since the last success.

    What fails together is one try, as all that an agent ran when it died: each begins after the last failure.
    """

    fast: float = 0.0
    slow: float = 0.0
    at: float = 0.0
    count: int = 0
    in_a_row: int = 0
    excused_in_a_row: int = 0
    lost_s: float = 0.0
    """Mean seconds that an attempt took until it failed."""

    def share(self, now: float) -> float:
        """Probability that the next attempt fails: as of late, or as in the long run if that is more."""
        age_s = now - self.at
        fast = faded(self.fast, age_s, FAST_HALF_LIFE_S)
        return min(MOST_FAILING, max(fast, faded(self.slow, age_s, SLOW_HALF_LIFE_S)))

    def retries(self, now: float) -> float:
        return retries_for(self.share(now)) if self.count else 0.0

    def is_probed(self, now: float) -> bool:
        """Whether it failed so often in a row, and lately, that one attempt at a time is enough."""
        return self.in_a_row >= PROBE_FROM and now - self.at < PROBE_FOR_S

    def is_resting(self, now: float) -> bool:
        """Whether it is too early for the next probe."""
        more = self.in_a_row - PROBE_FROM
        rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(max(more, 0), 9))
        # A failure from the far future is that of another clock: nobody rests until it comes true.
        return more >= 0 and -LONGEST_REST_S < now - self.at < rest_s

    def retries_beside(self, busy: int, now: float) -> float:
        """The same for a place beside `busy` attempts, if it is only probed."""
        if self.is_resting(now) or (busy > 0 and self.is_probed(now)):
            return BARRED
        return self.retries(now)

    def succeeded(self, at: float) -> None:
        if self.count:
            self._move(0.0, at)
            self.in_a_row = 0
        self.excused_in_a_row = 0

    def excused(self, at: float, lost_s: float) -> None:
        """It failed for a reason that need not be its own; who has such tasks only is to blame after all."""
        self.excused_in_a_row += 1
        if self.excused_in_a_row >= PROBE_FROM:
            self.failed(at, lost_s)

    def failed(self, at: float, lost_s: float) -> None:
        if not self.in_a_row or at - lost_s >= self.at:
            self.in_a_row += 1
        self._move(1.0, at)
        self.count += 1
        self.lost_s += (max(0.0, lost_s) - self.lost_s) * max(1.0 / self.count, FAST_MOVE)

    def _move(self, value: float, at: float) -> None:
        age_s = at - self.at
        fast = faded(self.fast, age_s, FAST_HALF_LIFE_S)
        slow = faded(self.slow, age_s, SLOW_HALF_LIFE_S)
        self.fast = fast + (value - fast) * FAST_MOVE
        self.slow = slow + (value - slow) * SLOW_MOVE
        self.at = at
