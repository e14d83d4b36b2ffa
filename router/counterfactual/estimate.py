"""The change in mean and quantiles that a policy would have made, and an interval for each.

Pure. The interval is a bootstrap of all that is uncertain: neighbouring decisions are weighted together, both
as decisions and as the observations that others' possible outcomes come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outrider.router.counterfactual.decisions import Decision
from outrider.router.counterfactual.judging import RECORDED, Judged, Lot, judge
from outrider.router.counterfactual.outcomes import Outcomes

CONFIDENCE = 0.95
REPLICATES = 200
SEED = 7
CHECKED = 2000
"""So many recorded outcomes, the newest, are compared with what the possible outcomes say of them."""
FIGURES = ("mean_s", "p95_s", "p99_s")
QUANTILES = (0.95, 0.99)
FEWEST = 20
"""Fewer judged decisions give no figures."""

Values = NDArray[np.float64]


class _Sample:
    """Weighted seconds in their order, to be weighted anew for each replicate."""

    def __init__(self, lots: Sequence[Lot]) -> None:
        lengths = [len(lot.seconds) for lot in lots]
        seconds = np.concatenate([lot.seconds for lot in lots])
        order = np.argsort(seconds, kind="stable")
        self._seconds = seconds[order]
        self._lot = np.repeat(np.arange(len(lots)), lengths)[order]
        self._weight = np.repeat([lot.weight for lot in lots], lengths)[order]
        self._decision = np.repeat([lot.decision for lot in lots], lengths)[order]
        self._seen_at = np.concatenate([lot.seen_at for lot in lots])[order]

    def figures(self, counts: Values) -> Values:
        """Mean and quantiles when decision number i counts `counts[i]` times."""
        seen = np.where(self._seen_at == RECORDED, 1.0, counts[self._seen_at])
        share = seen / np.bincount(self._lot, seen)[self._lot]
        weight = self._weight * share * counts[self._decision]
        reached, total = np.cumsum(weight), float(weight.sum())
        at = [int(np.argmax(reached >= quantile * total)) for quantile in QUANTILES]
        return np.array([float(weight @ self._seconds) / total, *self._seconds[at]])


def estimate(
    decisions: Sequence[Decision], *, replicates: int = REPLICATES, seed: int = SEED
) -> dict[str, Any]:
    """What the policy that the decisions were asked with would have changed; seconds of sojourn.

    Sojourn is the time from ready to succeeded. `change` is replayed less recorded, so below zero is better.
    """
    outcomes = Outcomes(decisions)
    judged = judge(decisions, outcomes)
    report = _shares(decisions, judged)
    if len(judged.recorded) < FEWEST:
        return report | {"recorded": None, "replayed": None, "change": None, "model_over_recorded": None}
    recorded, replayed = _Sample(judged.recorded), _Sample(judged.replayed)
    whole = np.ones(len(decisions))
    before, after = recorded.figures(whole), replayed.figures(whole)
    draws = np.array(
        [
            replayed.figures(counts) - recorded.figures(counts)
            for counts in _replicates(len(decisions), replicates, seed)
        ]
    )
    tails = 100.0 * np.array([(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    low, high = np.percentile(draws, tails, axis=0)
    return report | {
        "recorded": dict(zip(FIGURES, before.tolist(), strict=True)),
        "replayed": dict(zip(FIGURES, after.tolist(), strict=True)),
        "change": {
            name: {"estimate": float(after[n] - before[n]), "low": float(low[n]), "high": float(high[n])}
            for n, name in enumerate(FIGURES)
        },
        "confidence": CONFIDENCE,
        "model_over_recorded": _model_over_recorded(decisions, outcomes),
    }


def _shares(decisions: Sequence[Decision], judged: Judged) -> dict[str, Any]:
    count = max(1, len(decisions))
    method = "doubly_robust" if judged.reweighted else "direct" if judged.modelled else "matched"
    return {
        "decisions": len(decisions),
        "judged_share": len(judged.recorded) / count,
        "matched_share": judged.matched / count,
        "modelled_share": judged.modelled / count,
        "unjudged": {why: number / count for why, number in sorted(judged.unjudged.items())},
        "method": method,
    }


def _replicates(count: int, replicates: int, seed: int) -> Values:
    """Weights of mean 1, the same for neighbours: what is near in time shares drift and load."""
    random = np.random.default_rng(seed)
    length = max(1, round(count ** (1 / 3)))
    blocks = random.standard_exponential((replicates, -(-count // length)))
    weights: Values = np.repeat(blocks, length, axis=1)[:, :count]
    return weights


def _model_over_recorded(decisions: Sequence[Decision], outcomes: Outcomes) -> float | None:
    """Mean of the possible outcomes of recorded choices over the mean of what they took: 1 is right."""
    said, took = 0.0, 0.0
    for number in range(max(0, len(decisions) - CHECKED), len(decisions)):
        decision = decisions[number]
        found = outcomes.possible(number, decision.agent_id) if decision.finish_s is not None else None
        if found is not None:
            said += float(found.seconds.mean())
            took += decision.finish_s or 0.0
    return said / took if took > 0.0 else None
