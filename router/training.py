"""Training: rows of the ledger to a forest, judged on the newest rows. Knows no NATS and promotes nothing.

Runs in its own process; the router that serves never imports scikit-learn.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outrider.router.artifact import ModelStore, write_model
from outrider.router.dataset import Row, Table, split_by_time, table_of
from outrider.router.flat_forest import FlatForest, ModelRefused, flatten
from outrider.router.promotion import judged
from outrider.router.seed_data import FLEETS, TASKS_PER_FLEET, seed_rows

TREES = 64
DEPTH = 10
SEED = 7
SEED_SHARE = 0.25
"""Generated rows for each real one, so that the forest keeps an answer for what the ledger never saw."""

Logs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted estimator and the same forest as arrays."""

    estimator: Any
    forest: FlatForest


def fit(table: Table, trees: int = TREES, depth: int = DEPTH) -> Trained:
    """A random forest of what the rows differ from their base by. Same rows, same forest."""
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415

    estimator = RandomForestRegressor(
        n_estimators=trees,
        max_depth=depth,
        min_samples_leaf=5,
        max_samples=0.3 if len(table) >= 1000 else None,
        max_features=0.5,
        random_state=SEED,
        n_jobs=1,
    )
    estimator.fit(table.features, table.target)
    return Trained(estimator, flatten(estimator, table.features, table.target, SEED))


def judge(forest: FlatForest | None, table: Table) -> dict[str, float]:
    """How well log service seconds are predicted; without a forest, how well the plain average does."""
    if forest is None:
        return {"mae_log": _mean_error(table.average, table.log_service)}
    leaves = forest.leaves(table.features)
    p50 = forest.mean(leaves) + table.base
    p90 = np.maximum(p50, forest.quantile(leaves, 0.9) + table.base)
    return {
        "mae_log": _mean_error(p50, table.log_service),
        "p50_coverage": float(np.mean(table.log_service <= p50)),
        "p90_coverage": float(np.mean(table.log_service <= p90)),
    }


def _mean_error(predicted: Logs, actual: Logs) -> float:
    return float(np.mean(np.abs(predicted - actual)))


def _about(source: str, rows: Sequence[Row], metrics: dict[str, Any]) -> dict[str, Any]:
    import joblib  # noqa: PLC0415
    import sklearn  # noqa: PLC0415

    training: dict[str, Any] = {"source": source, "rows": len(rows)}
    if source == "ledger":
        epochs = [row.attempt.epoch for row in rows]
        training |= {"first_seq": min(epochs), "last_seq": max(epochs)}
        training |= {"first_at": rows[0].ended_at, "last_at": rows[-1].ended_at}
    return {
        "training": training,
        "metrics": metrics,
        "forest_settings": {"trees": TREES, "depth": DEPTH, "min_samples_leaf": 5, "max_features": 0.5},
        "libraries": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "joblib": joblib.__version__,
        },
    }


def train_seed_model(rows: Sequence[Row], folder: Path) -> None:
    """Write the model that ships: judged on fleets that it was not trained on, then fitted on them alone."""
    older, newest = split_by_time(table_of(rows))
    trained = fit(older)
    metrics = {
        "model": judge(trained.forest, newest),
        "average": judge(None, newest),
        "judged_on": len(newest),
    }
    rounded = {key: _rounded(value) for key, value in metrics.items()}
    data = trained.forest.to_bytes()
    version = f"seed-{hashlib.sha256(data).hexdigest()[:8]}"
    write_model(folder, version, data, _about("generated", rows, rounded))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def learn(rows: Sequence[Row], store: ModelStore, fewest: int, serving: str | None) -> dict[str, Any]:
    """Train on the older rows, judge on the newest, against what is known without a forest and what serves.

    The report says whether the model, kept and signed in `store`, may be promoted and why. Raises KeyProblem.
    """
    report: dict[str, Any] = {"rows": len(rows), "promoted": False}
    if len(rows) < fewest:
        return report | {"why": f"{len(rows)} finished attempts are too few, {fewest} are needed"}
    older, newest = split_by_time(table_of(rows))
    trained = fit(_with_seed_rows(older))
    own = judge(trained.forest, newest)
    rivals = {
        "average": judge(None, newest),
        "table_drift": {"mae_log": _mean_error(newest.base, newest.log_service)},
        "serving": _judge_serving(store, newest, serving),
    }
    metrics = _rounded({"model": own, "judged_on": len(newest), **rivals})
    errors = {name: rival["mae_log"] if rival else None for name, rival in rivals.items()}
    verdict = judged(own["mae_log"], errors, len(newest))
    about = _about("ledger", rows, metrics)
    version = store.save(trained.forest, trained.estimator, about, f"ledger-{rows[-1].attempt.epoch}")
    return report | {
        "version": version,
        "metrics": metrics,
        "promoted": verdict.promoted,
        "why": verdict.why,
    }


def _judge_serving(store: ModelStore, newest: Table, serving: str | None) -> dict[str, float] | None:
    """The serving model on the same rows; None when it is damaged or made for other features."""
    try:
        return judge(store.load(serving).forest, newest)
    except ModelRefused:
        return None


def _with_seed_rows(table: Table) -> Table:
    wanted = int(len(table) * SEED_SHARE)
    fleets = min(FLEETS, max(8, wanted // TASKS_PER_FLEET + 1))
    seed = table_of(list(seed_rows(fleets)))
    count = min(len(seed), wanted)
    picked = np.random.default_rng(SEED).permutation(len(seed))[:count]
    picked.sort()
    some = Table(seed.features[picked], seed.base[picked], seed.average[picked], seed.log_service[picked])
    return some.joined(table)
