"""The flat forest gives the same bits as scikit-learn, and a damaged file is refused before it is walked."""

import io
import random
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from outrider.router.flat_forest import DTYPES, FEW, FlatForest, ModelRefused, forest_from_bytes
from outrider.router.flattening import flatten, flatten_boosted


def rows_and_targets(count: int = 600) -> tuple[np.ndarray[Any, np.dtype[np.float32]], Any]:
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(count, 5)).astype(np.float32)
    rows[:, 4] = np.round(rows[:, 4])
    return rows, rows[:, 0] * 2 + np.abs(rows[:, 1]) + draw.normal(0, 0.2, count)


def fitted(depth: int | None = 10, trees: int = 16) -> tuple[Any, FlatForest]:
    rows, targets = rows_and_targets()
    estimator = RandomForestRegressor(trees, max_depth=depth, min_samples_leaf=2, random_state=1)
    estimator.fit(rows, targets)
    return estimator, flatten(estimator, rows, targets, seed=1)


@pytest.mark.parametrize("depth", [1, 4, 10, None])
@pytest.mark.parametrize("count", [1, 10, 257, 1000])
def test_predictions_are_bit_equal_to_scikit_learn(depth: int | None, count: int) -> None:
    estimator, forest = fitted(depth)
    rows = np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32) * 2
    assert (forest.mean(forest.leaves(rows)) == estimator.predict(rows)).all()


def boosted() -> tuple[Any, FlatForest]:
    rows, targets = rows_and_targets()
    estimator = HistGradientBoostingRegressor(max_iter=30, max_leaf_nodes=8, random_state=1)
    estimator.fit(rows, targets)
    return estimator, flatten_boosted(estimator, rows, targets, seed=1)


@pytest.mark.parametrize("count", [1, 10, 257])
def test_boosted_trees_predict_what_scikit_learn_does(count: int) -> None:
    estimator, forest = boosted()
    draw = np.random.default_rng(count)
    on_thresholds = np.repeat(forest.threshold[np.isfinite(forest.threshold)][:count, None], 5, axis=1)
    for rows in (draw.normal(size=(count, 5)).astype(np.float32) * 2, on_thresholds):
        assert forest.mean(forest.leaves(rows)) == pytest.approx(estimator.predict(rows), rel=1e-9)


def test_boosted_trees_are_written_and_read_with_their_sort_of_p90() -> None:
    _, forest = boosted()
    again = forest_from_bytes(forest.to_bytes())
    assert again.around_mean
    assert again.to_bytes() == forest.to_bytes()
    assert not forest_from_bytes(fitted()[1].to_bytes()).around_mean
    rows, targets = rows_and_targets()
    bound = again.quantile(again.leaves(rows), 0.9)
    assert 0.8 <= float(np.mean(targets <= bound)) <= 0.97


def test_values_exactly_on_a_threshold_go_the_same_way() -> None:
    estimator, forest = fitted()
    rows = np.repeat(forest.threshold[np.isfinite(forest.threshold)][:200, None], 5, axis=1)
    assert (forest.mean(forest.leaves(rows)) == estimator.predict(rows)).all()


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1])
def test_few_rows_get_the_bits_that_they_get_among_many(count: int) -> None:
    _, forest = fitted()
    rows = np.concatenate([rows_and_targets()[0], np.repeat(forest.threshold[:40, None], 5, axis=1)])
    rows = np.random.default_rng(count).permuted(np.nan_to_num(rows, posinf=1e30), axis=0)
    many, few = forest.leaves(rows), forest.leaves(rows[:count])
    assert (few == many[:, :count]).all()
    assert (forest.mean(few) == forest.mean(many)[:count]).all()
    assert (forest.quantile(few, 0.9) == np.sort(forest.sample[many], axis=0)[14, :count]).all()


def test_a_written_forest_reads_back_equal_and_writes_the_same_bytes() -> None:
    _, forest = fitted()
    data = forest.to_bytes()
    again = forest_from_bytes(data)
    assert again.to_bytes() == data
    assert again.levels == forest.levels == 10
    assert forest_from_bytes(fitted()[1].to_bytes()).to_bytes() == data


def test_nine_in_ten_new_targets_stay_under_the_p90_quantile() -> None:
    draw = np.random.default_rng(5)
    rows = draw.uniform(-1, 1, (6000, 2)).astype(np.float32)
    targets = rows[:, 0] + draw.exponential(0.5 + (rows[:, 1] > 0), 6000)
    estimator = RandomForestRegressor(64, max_depth=8, min_samples_leaf=5, max_samples=0.3, random_state=1)
    forest = flatten(estimator.fit(rows[:5000], targets[:5000]), rows[:5000], targets[:5000], seed=2)
    bound = forest.quantile(forest.leaves(rows[5000:]), 0.9)
    assert 0.86 <= float(np.mean(targets[5000:] <= bound)) <= 0.95


def arrays_of(forest: FlatForest) -> dict[str, Any]:
    found = {name: getattr(forest, name).astype(kind) for name, kind in DTYPES.items()}
    return found | {"features": np.int32(forest.features)}


def packed(arrays: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _set(name: str, index: int, value: Any) -> Any:
    def damage(arrays: dict[str, Any]) -> None:
        arrays[name][index] = value

    return damage


HOSTILE = {
    "child before its parent": _set("child", 1, 0),
    "child beyond the end": _set("child", 0, 2_000_000_000),
    "child negative": _set("child", 0, -5),
    "child in another tree": lambda a: _set("child", 0, int(a["roots"][1]))(a),
    "endless loop": _set("child", 2, 1),
    "a node with two parents": lambda a: _set("child", 1, int(a["child"][0]))(a),
    "feature too large": _set("feature", 0, 5),
    "feature negative": _set("feature", 0, -1),
    "threshold not a number": _set("threshold", 0, np.nan),
    "threshold of an inner node infinite": _set("threshold", 0, np.inf),
    "value not a number": _set("value", 3, np.nan),
    "value infinite": _set("value", 3, np.inf),
    "sample not a number": _set("sample", 3, np.nan),
    "roots out of order": _set("roots", 1, 0),
    "root beyond the end": _set("roots", -1, 1_000_000),
    "first root elsewhere": _set("roots", 0, 1),
    "an array too short": lambda a: a.update(value=a["value"][:-1]),
    "an array missing": lambda a: a.pop("child"),
    "an array too many": lambda a: a.update(more=np.zeros(3)),
    "another type": lambda a: a.update(child=a["child"].astype(np.float64)),
    "another shape": lambda a: a.update(threshold=a["threshold"][:, None]),
    "pickled objects": lambda a: a.update(child=np.array([{}] * len(a["child"]), dtype=object)),
    "no nodes": lambda a: a.update({n: a[n][:0] for n in DTYPES if n != "roots"}),
    "no trees": lambda a: a.update(roots=a["roots"][:0]),
    "no features": lambda a: a.update(features=np.int32(0)),
    "a flag that is neither": lambda a: a.update(around_mean=np.int32(2)),
    "a negative flag": lambda a: a.update(around_mean=np.int32(-1)),
    "a flag of another type": lambda a: a.update(around_mean=np.float64(1.0)),
    "a flag for each node": lambda a: a.update(around_mean=np.ones(len(a["child"]), np.int32)),
    "features as a list": lambda a: a.update(features=np.array([5], np.int32)),
    "unpacks to too much": lambda a: a.update(value=np.zeros(6_000_000)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_forest_that_could_lead_outside_its_arrays_is_refused(what: str) -> None:
    arrays = arrays_of(fitted()[1])
    HOSTILE[what](arrays)
    with pytest.raises(ModelRefused):
        forest_from_bytes(packed(arrays))


@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x04nonsense", b"x" * 1000])
def test_what_is_no_forest_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused):
        forest_from_bytes(data)


def test_flipped_bits_are_refused_or_harmless() -> None:
    good = fitted(depth=4, trees=4)[1].to_bytes()
    draw = random.Random(4)
    for _ in range(50):
        data = bytearray(good)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            forest = forest_from_bytes(bytes(data))
        except ModelRefused:
            continue
        rows = np.zeros((3, forest.features), np.float32)
        assert np.isfinite(forest.mean(forest.leaves(rows))).all()


def test_features_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ModelRefused, match="finite"):
        fitted()[1].leaves(np.array([[0, 0, np.nan, 0, 0]], np.float32))
    with pytest.raises(ModelRefused, match="features expected"):
        fitted()[1].leaves(np.zeros((1, 4), np.float32))
