"""When a second attempt is worth it: after the first one's own 95th percentile, and within a budget.

Pure numbers; knows neither tasks nor agents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BEYOND = 1.6449 / 1.2816 - 1.0
"""From the quantiles of the normal distribution: service times are predicted as log-normal."""
WIDEST = 100.0
"""p90 over p50; a wider prediction tells nothing."""
SPREAD_BEYOND_P90 = 1.3
"""p95 over p90 where the median says nothing."""
SHARE = 0.05
"""Second attempts as a share of assignments, where nothing else is set."""
LEAST_S = 1.0
"""What runs shorter than this is never worth a second attempt, where nothing else is set."""
LOOK_S = 0.5
"""A task that could not get a second agent is thought of again after so long."""
MOST_TOKENS = 10
"""Second attempts that may be saved up; so the budget is a share of recent assignments, not of all."""


def p95_s(p50_s: float, p90_s: float) -> float:
    """The 95th percentile in seconds of the log-normal time with this median and 90th percentile."""
    if p50_s <= 0.0 or p90_s < p50_s:
        return p90_s * SPREAD_BEYOND_P90
    return p90_s * float(min(WIDEST, p90_s / p50_s) ** BEYOND)


@dataclass(slots=True)
class HedgeBudget:
    """A token bucket: each assignment brings a share of a second attempt. Costs nothing between questions."""

    tokens: float = 1.0
    counted: int = 0
    """Assignments that have brought their share."""
    asked: dict[int, str] = field(default_factory=dict)
    """Tasks for which the router looks for a second agent now, by round."""

    def has_one(self, assignments: int, share: float) -> bool:
        """Whether one more may begin after so many assignments in all, beside those that are asked for."""
        grown = self.tokens + share * (assignments - self.counted)
        self.tokens, self.counted = min(MOST_TOKENS, grown), assignments
        return share > 0.0 and self.tokens - len(self.asked) >= 1.0

    def spend(self) -> None:
        self.tokens -= 1.0
