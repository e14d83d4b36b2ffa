"""Training promotes what is better on the newest rows, and nothing else; the seed data is what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outrider.broker.config import BadSettings
from outrider.broker.facts import TaskFacts
from outrider.router.artifact import ModelStore
from outrider.router.config import router_settings
from outrider.router.dataset import Row, RowBuilder, Table, split_by_time, table_of
from outrider.router.flat_forest import forest_from_bytes
from outrider.router.seed_data import FLEETS, seed_rows
from outrider.router.training import KINDS, Trained, fit, fit_best, judge, learn, train_seed_model
from tests.unit.router.test_statistics import Ledger


def learn_and_promote(rows: list[Row], store: ModelStore, fewest: int) -> dict[str, Any]:
    report = learn(rows, store, fewest, store.serving_version())
    if report["promoted"]:
        store.promote(report["version"])
    return report


def rows_of(ledger: Ledger) -> list[Row]:
    builder = RowBuilder()
    return [row for entry in ledger.entries if (row := builder.fold(*entry)) is not None]


def ledger_with_pattern(count: int, *, follows_prompt: bool) -> Ledger:
    """Two agents; the service follows the prompt's length by a rule of its own, or nothing but chance."""
    draw, ledger = np.random.default_rng(8), Ledger()
    for number in range(count):
        chars = int(draw.choice([20, 200, 2000, 20000]))
        seconds = (0.2 + 3.0 * (chars == 200)) if follows_prompt else 1.0
        seconds *= float(np.exp(draw.normal(0, 0.1 if follows_prompt else 0.5)))
        facts = TaskFacts(chars + 40, chars, 1, 64)
        ledger.run(f"t{number}", f"a{number % 2}", seconds, facts=facts)
    return ledger


def test_a_better_model_is_promoted_and_serves(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    report = learn_and_promote(rows_of(ledger_with_pattern(800, follows_prompt=True)), store, 200)
    assert report["promoted"], report["why"]
    metrics = report["metrics"]
    assert metrics["model"]["mae_log"] < 0.7 * min(
        metrics["average"]["mae_log"], metrics["table_drift"]["mae_log"], metrics["serving"]["mae_log"]
    )
    assert store.load_serving().version == report["version"]
    manifest = store.load_serving().manifest
    assert manifest["training"]["source"] == "ledger"
    assert manifest["kind"] == report["kind"] in KINDS
    assert manifest["training"]["last_seq"] > manifest["training"]["first_seq"] > 0


@pytest.mark.parametrize("winner", sorted(KINDS))
def test_the_kind_that_errs_least_on_the_newest_rows_is_taken(
    winner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newest = split_by_time(table_of(rows_of(ledger_with_pattern(600, follows_prompt=True))))
    blind = Table(np.zeros_like(older.features), older.base, older.average, older.log_service)

    def made_on(make: Callable[[Table], Trained], rows: Table) -> Callable[[Table], Trained]:
        return lambda _: make(rows)

    for name, make in KINDS.items():
        monkeypatch.setitem(KINDS, name, made_on(make, older if name == winner else blind))
    best, kinds = fit_best(older, newest)
    assert best.kind == winner
    assert kinds.keys() == KINDS.keys()
    assert kinds[winner] == judge(best.forest, newest)
    assert all(kinds[winner]["mae_log"] < found["mae_log"] for name, found in kinds.items() if name != winner)


def test_a_model_that_is_not_better_is_kept_but_does_not_serve(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    rows = rows_of(ledger_with_pattern(800, follows_prompt=True))
    first = learn_and_promote(rows, store, 200)
    again = learn_and_promote(rows, store, 200)
    assert (again["promoted"], "the model that serves" in again["why"]) == (False, True)
    assert store.serving_version() == first["version"]


def test_too_few_rows_train_nothing(tmp_path: Path) -> None:
    report = learn_and_promote(
        rows_of(ledger_with_pattern(50, follows_prompt=True)), ModelStore(tmp_path), 200
    )
    assert (report["promoted"], report["rows"]) == (False, 50)
    assert "too few" in report["why"]
    assert not any(tmp_path.iterdir())


def test_a_damaged_serving_model_does_not_keep_a_new_one_out(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    rows = rows_of(ledger_with_pattern(800, follows_prompt=True))
    first = learn_and_promote(rows, store, 200)["version"]
    (store.folder(first) / "forest.npz").write_bytes(b"damaged")
    report = learn_and_promote(rows, store, 200)
    assert report["promoted"]
    assert store.load_serving().version == report["version"]


def test_the_newest_rows_are_kept_aside() -> None:
    table = table_of(list(seed_rows(fleets=2)))
    older, newest = split_by_time(table)
    assert len(older) + len(newest) == len(table)
    assert (newest.features == table.features[len(older) :]).all()


def test_seed_data_is_the_same_each_time_and_plausible() -> None:
    first, second = (table_of(list(seed_rows(fleets=3))) for _ in range(2))
    assert (first.features == second.features).all()
    assert (first.log_service == second.log_service).all()
    assert np.isfinite(first.features).all()
    seconds = np.exp(first.log_service)
    assert 0.001 < np.median(seconds) < 20


def test_the_forest_knows_more_than_the_average_on_fleets_it_never_saw() -> None:
    older, newest = split_by_time(table_of(list(seed_rows(fleets=12))))
    trained = fit(older, trees=16)
    ours, average = judge(trained.forest, newest), judge(None, newest)
    assert ours["mae_log"] < 0.85 * average["mae_log"]
    assert ours["p90_coverage"] == pytest.approx(0.9, abs=0.07)


@pytest.mark.slow
def test_the_documented_command_makes_the_shipped_model(tmp_path: Path) -> None:
    train_seed_model(list(seed_rows(FLEETS)), tmp_path)
    # Not byte by byte: another processor may round a logarithm differently.
    rows = table_of(list(seed_rows(fleets=2))).features
    shipped = ModelStore(tmp_path / "none").load(None).forest
    again = forest_from_bytes((tmp_path / "forest.npz").read_bytes())
    difference = np.abs(shipped.mean(shipped.leaves(rows)) - again.mean(again.leaves(rows)))
    assert float(difference.mean()) < 0.01


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OUTRIDER_ROUTER_EXPLORE", "2"),
        ("OUTRIDER_ROUTER_EXPLORE", "much"),
        ("OUTRIDER_ROUTER_RELOAD_S", "0"),
        ("OUTRIDER_ROUTER_FEWEST_ROWS", "nan"),
        ("OUTRIDER_ROUTER_POLICY", "best"),
        ("OUTRIDER_ROUTER_RETRAIN_S", "-1"),
        ("OUTRIDER_ROUTER_RETRAIN_DRIFT", "some"),
        ("OUTRIDER_ROUTER_RETRAIN_GAP_S", "inf"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, text: str) -> None:
    with pytest.raises(BadSettings, match=text):
        router_settings({name: text})


def test_settings_come_from_the_environment_and_the_argument_wins() -> None:
    env = {"OUTRIDER_ROUTER_POLICY": "random", "OUTRIDER_ROUTER_EXPLORE": "0.2"}
    assert router_settings(env).policy == "random"
    assert router_settings(env, "model").policy == "model"
    assert router_settings(env).explore_rate == 0.2
