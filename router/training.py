"""Training: rows of the ledger to trees, judged on the newest rows. Knows no NATS and promotes nothing.

Runs in its own process; the router that serves never imports scikit-learn.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outrider.router.artifact import ModelStore, write_model
from outrider.router.dataset import Row, Table, split_by_time, table_of
from outrider.router.flat_forest import FlatForest, ModelRefused
from outrider.router.flattening import flatten, flatten_boosted
from outrider.router.promotion import judged
from outrider.router.seed_data import FLEETS, TASKS_PER_FLEET, seed_rows

TREES = 64
DEPTH = 10
BOOSTED: dict[str, Any] = {
    "max_iter": 80,
    "learning_rate": 0.08,
    "max_leaf_nodes": 24,
    "max_depth": 8,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
}
SEED = 7
SEED_SHARE = 0.25
"""Generated rows for each real one, so that the forest keeps an answer for what the ledger never saw."""

Logs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted estimator and the same trees as arrays; `kind` is one of KINDS."""

    estimator: Any
    forest: FlatForest
    kind: str = "forest"


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


def fit_boosted(table: Table) -> Trained:
    """Histogram gradient boosting of the same. Its trees are small, so that they stay in the cache."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    estimator = HistGradientBoostingRegressor(**BOOSTED, early_stopping=False, random_state=SEED)
    # Its threads wait for each other busily: beside a fleet's other work one is quicker than two.
    with threadpool_limits(1):
        estimator.fit(table.features, table.target)
    return Trained(estimator, flatten_boosted(estimator, table.features, table.target, SEED), "boosted")


SETTINGS: dict[str, dict[str, Any]] = {
    "forest": {"trees": TREES, "depth": DEPTH, "min_samples_leaf": 5, "max_features": 0.5},
    "boosted": BOOSTED,
}
KINDS: dict[str, Callable[[Table], Trained]] = {"forest": fit, "boosted": fit_boosted}


def fit_best(older: Table, newest: Table) -> tuple[Trained, dict[str, dict[str, float]]]:
    """The kind that errs least on the newest rows, trained on the older ones, and how each kind did there."""
    fitted = {name: make(older) for name, make in KINDS.items()}
    judged_so = {name: judge(trained.forest, newest) for name, trained in fitted.items()}
    best = min(judged_so, key=lambda name: judged_so[name]["mae_log"])
    return fitted[best], judged_so


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


def _about(source: str, rows: Sequence[Row], metrics: dict[str, Any], kind: str) -> dict[str, Any]:
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
        "kind": kind,
        "settings": SETTINGS[kind],
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
    write_model(folder, version, data, _about("generated", rows, rounded, trained.kind))


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
    trained, kinds = fit_best(_with_seed_rows(older), newest)
    own = kinds[trained.kind]
    rivals = {
        "average": judge(None, newest),
        "table_drift": {"mae_log": _mean_error(newest.base, newest.log_service)},
        "serving": _judge_serving(store, newest, serving),
    }
    metrics = _rounded({"model": own, "kinds": kinds, "judged_on": len(newest), **rivals})
    errors = {name: rival["mae_log"] if rival else None for name, rival in rivals.items()}
    verdict = judged(own["mae_log"], errors, len(newest))
    about = _about("ledger", rows, metrics, trained.kind)
    version = store.save(trained.forest, trained.estimator, about, f"ledger-{rows[-1].attempt.epoch}")
    return report | {
        "version": version,
        "kind": trained.kind,
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
