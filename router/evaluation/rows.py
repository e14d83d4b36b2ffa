"""From finished tasks to the rows of a report: what one run was like, and what all fleets say together.

Pure. Times and ratios over fleets are geometric means, so that a slow fleet weighs as much as a fast one and
the ratio of two rows is the mean ratio on the same fleets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outrider.router.evaluation.simulation import Finished
from outrider.router.evaluation.world import World

Values = NDArray[np.float64]
DRAWS = 1000
LEAST_S = 1e-6
MEANS = (
    "goodput",
    "succeeded",
    "failures",
    "failed_s",
    "hedged",
    "cancelled_s",
    "largest_share",
    "p50_coverage",
    "p90_coverage",
)
"""Fields whose value over fleets is the plain mean."""


@dataclass(frozen=True, slots=True)
class Run:
    """One policy in one world, in numbers. Seconds are sojourn unless said."""

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    goodput: float
    """Share of all tasks that were answered rightly and in time."""
    succeeded: float
    failures: float
    """Failed attempts for each task."""
    failed_s: float
    """Seconds of service that ended in failure, for each task."""
    hedged: float
    """Second attempts beside slow ones, for each task."""
    cancelled_s: float
    """Seconds of service that a second attempt made needless, or that were its own in vain, for each task."""
    largest_share: float
    """Largest share of tasks that one agent ended."""
    shares: Mapping[str, float]
    p50_coverage: float
    p90_coverage: float
    decision_s: float


def run_of(world: World, finished: Sequence[Finished], decision_s: Sequence[float]) -> Run:
    sojourn = np.array([one.sojourn_s for one in finished])
    good = [one.is_correct and one.sojourn_s <= world.tasks[one.task].limit_s for one in finished]
    counts = np.bincount([one.agent + 1 for one in finished], minlength=len(world.agents) + 1)[1:]
    told = [one for one in finished if one.p90_s > 0 and one.succeeded]
    p50_s, p95_s, p99_s = (float(value) for value in np.percentile(sojourn, (50, 95, 99)))
    return Run(
        float(sojourn.mean()),
        p50_s,
        p95_s,
        p99_s,
        float(np.mean(good)),
        float(np.mean([one.succeeded for one in finished])),
        float(np.mean([one.failures for one in finished])),
        float(np.mean([one.failed_s for one in finished])),
        float(np.mean([one.hedged for one in finished])),
        float(np.mean([one.cancelled_s for one in finished])),
        float(counts.max() / len(finished)),
        {agent.name: float(n / len(finished)) for agent, n in zip(world.agents, counts, strict=True)},
        float(np.mean([one.service_s <= one.p50_s for one in told])) if told else float("nan"),
        float(np.mean([one.service_s <= one.p90_s for one in told])) if told else float("nan"),
        float(np.median(decision_s)) if len(decision_s) else float("nan"),
    )


def geometric(values: Values) -> float:
    return float(np.exp(np.mean(np.log(np.maximum(values, LEAST_S)))))


def interval(ratios: Values, seed: int) -> list[float]:
    """The middle 95 % of the geometric mean when fleets are drawn again with replacement."""
    logs = np.log(np.maximum(ratios, LEAST_S))
    picks = np.random.default_rng(seed).integers(0, len(logs), (DRAWS, len(logs)))
    return [round(float(v), 4) for v in np.exp(np.percentile(logs[picks].mean(axis=1), (2.5, 97.5)))]


def rows_of(runs: Mapping[str, Sequence[Run]], about: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """One row for each policy; `runs` holds the same fleets in the same order for each."""
    return [_row(name, runs, seed) | dict(about) for name in runs]


def _column(runs: Sequence[Run], name: str) -> Values:
    return np.array([getattr(run, name) for run in runs], float)


def _mean(values: Values) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _row(name: str, runs: Mapping[str, Sequence[Run]], seed: int) -> dict[str, Any]:
    own = runs[name]
    row: dict[str, Any] = {"policy": name, "fleets": len(own)}
    row |= {f: round(geometric(_column(own, f)), 4) for f in ("mean_s", "p50_s", "p95_s", "p99_s")}
    for f in MEANS:
        row[f] = _mean(_column(own, f))
    row["decision_ms"] = _mean(_column(own, "decision_s") * 1e3)
    row["share_of_agents"] = dict(own[0].shares) if len(own) == 1 else None
    for other in ("least_outstanding", "peak_ewma", "oracle"):
        if other in runs:
            ratios = _column(own, "mean_s") / _column(runs[other], "mean_s")
            row[f"ratio_to_{other}"] = round(geometric(ratios), 4)
            row[f"ratio_to_{other}_interval"] = interval(ratios, seed)
    if "peak_ewma" in runs:
        p99 = _column(own, "p99_s") / _column(runs["peak_ewma"], "p99_s")
        row["p99_ratio_to_peak_ewma"] = round(geometric(p99), 4)
        row["p99_ratio_to_peak_ewma_interval"] = interval(p99, seed)
        failed = _column(runs["peak_ewma"], "failures").sum()
        row["failures_over_peak_ewma"] = (
            round(float(_column(own, "failures").sum() / failed), 4) if failed else None
        )
    if {"peak_ewma", "oracle"} <= set(runs):
        row["gap_closed"] = _gap_closed(own, runs["peak_ewma"], runs["oracle"])
    return row


def _gap_closed(own: Sequence[Run], peak: Sequence[Run], oracle: Sequence[Run]) -> float | None:
    """How much of the way from peak-EWMA to the oracle, in geometric means; None if there is no way to go."""
    usual = _column(peak, "mean_s")
    shorter, shortest = (1 - geometric(_column(runs, "mean_s") / usual) for runs in (own, oracle))
    return round(shorter / shortest, 4) if abs(shortest) > LEAST_S else None
