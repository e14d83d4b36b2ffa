"""Training: rows of the ledger to a forest, judged on the newest rows, promoted only if it is better there.

Runs in its own process; the router that serves never imports scikit-learn.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.follower import StreamReader
from outrider.broker.subjects import Subjects
from outrider.router.artifact import ModelStore, write_model
from outrider.router.config import router_settings
from outrider.router.dataset import Row, RowBuilder, Table, split_by_time, table_of
from outrider.router.flat_forest import FlatForest, ModelRefused, flatten
from outrider.router.seed_data import FLEETS, TASKS_PER_FLEET, seed_rows

TREES = 64
DEPTH = 10
SEED = 7
MOST_ROWS = 200_000
PAGE = 2560
SEED_SHARE = 0.25
"""Generated rows for each real one, so that the forest keeps an answer for what the ledger never saw."""
BETTER_BY = 0.99
"""A new model must be this much better than what it replaces: a coin's throw is no reason to change."""

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


async def train_from_ledger(
    settings: NatsSettings, fleet: str, state_folder: Path, *, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Read the fleet's ledger, train, judge, and promote if better. The report says which and why.

    Raises NatsUnavailable, WrongCredentials or BadSettings.
    """
    fewest = router_settings(env).fewest_rows
    rows = await ledger_rows(settings, fleet)
    return learn_and_promote(rows, ModelStore(state_folder), fewest)


async def ledger_rows(settings: NatsSettings, fleet: str) -> list[Row]:
    """The newest rows of the fleet's ledger, in its order."""
    subjects, builder = Subjects(fleet), RowBuilder()
    rows: list[Row] = []
    first = 1
    async with await Connection.open(settings, "router training") as connection:
        reader = StreamReader(connection, subjects.ledger_stream)
        while page := await reader.all_of(subjects.all_ledger, first, PAGE):
            for stored in page:
                row = builder.fold(stored.subject, stored.data, stored.seq, stored.stored_at)
                if row is not None:
                    rows.append(row)
            del rows[:-MOST_ROWS]
            first = page[-1].seq + 1
    return rows


def learn_and_promote(rows: Sequence[Row], store: ModelStore, fewest: int) -> dict[str, Any]:
    """Train on the older rows and judge on the newest; promote only what beats all it is compared with."""
    report: dict[str, Any] = {"rows": len(rows), "promoted": False}
    if len(rows) < fewest:
        return report | {"why": f"{len(rows)} finished attempts are too few, {fewest} are needed"}
    older, newest = split_by_time(table_of(rows))
    trained = fit(_with_seed_rows(older))
    compared = {"average": judge(None, newest), "serving": _judge_serving(store, newest)}
    own = judge(trained.forest, newest)
    metrics = {"model": own, "judged_on": len(newest), **compared}
    about = _about("ledger", rows, _rounded(metrics))
    version = store.save(trained.forest, trained.estimator, about, f"ledger-{rows[-1].attempt.epoch}")
    report |= {"version": version, "metrics": metrics}
    losing = _not_beaten(own["mae_log"], compared)
    if losing:
        return report | {
            "why": f"not better than {' and '.join(losing)} on the newest {len(newest)} attempts"
        }
    store.promote(version)
    return report | {
        "promoted": True,
        "why": f"better than average and serving on {len(newest)} newest attempts",
    }


def _not_beaten(error: float, compared: Mapping[str, dict[str, float] | None]) -> list[str]:
    return [name for name, other in compared.items() if other and error > BETTER_BY * other["mae_log"]]


def _judge_serving(store: ModelStore, newest: Table) -> dict[str, float] | None:
    """The serving model on the same rows; None when it is damaged or made for other features."""
    try:
        return judge(store.load_serving().forest, newest)
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
