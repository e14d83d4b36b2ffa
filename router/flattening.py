"""Fitted scikit-learn estimators to flat arrays. For the training side; knows tree arrays, not the features.

Random forests keep their bits. Boosted trees are brought to the same form, a mean over trees; they agree with
scikit-learn but for the last bits, because a sum is added up in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outrider.router.flat_forest import FlatForest, forest_from_arrays

Rows = NDArray[np.float32]
Targets = NDArray[np.float64]
Part = dict[str, Any]


def flatten(estimator: Any, rows: Rows, targets: Targets, seed: int) -> FlatForest:
    """The arrays of a fitted random forest; `rows` and `targets` are what it was fitted on."""
    bare = _joined([_tree(tree.tree_) for tree in estimator.estimators_], rows.shape[1])
    return replace(bare, sample=_one_per_leaf(bare, rows, targets, seed))


def flatten_boosted(estimator: Any, rows: Rows, targets: Targets, seed: int) -> FlatForest:
    """The arrays of fitted histogram gradient boosting for one squared error, without categories."""
    trees = [predictor.nodes for (predictor,) in estimator._predictors]
    start = float(np.ravel(estimator._baseline_prediction)[0])
    parts = [_boosted_tree(nodes, len(trees), start) for nodes in trees]
    bare = _joined(parts, rows.shape[1])
    missed = targets - bare.mean(bare.leaves(rows))
    return replace(bare, around_mean=True, sample=_one_per_leaf(bare, rows, missed, seed))


def _joined(parts: Sequence[Part], features: int) -> FlatForest:
    sizes = [len(part["feature"]) for part in parts]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    joined: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    child = (joined.pop("child") + np.repeat(roots, sizes)).astype(np.int32)
    sample = joined["value"].astype(np.float32)
    return forest_from_arrays(features=features, roots=roots, child=child, sample=sample, **joined)


def _tree(tree: Any) -> Part:
    return _renumbered(
        tree.children_left, tree.children_right, tree.feature, tree.threshold, tree.value[:, 0, 0]
    )


def _boosted_tree(nodes: Any, trees: int, start: float) -> Part:
    leaf = nodes["is_leaf"].astype(bool)
    return _renumbered(
        np.where(leaf, -1, nodes["left"].astype(np.int64)),
        np.where(leaf, -1, nodes["right"].astype(np.int64)),
        nodes["feature_idx"],
        nodes["num_threshold"],
        # The mean over trees of this is the start value plus the sum over trees.
        nodes["value"] * trees + start,
    )


def _renumbered(
    left: NDArray[Any], right: NDArray[Any], feature: NDArray[Any], threshold: NDArray[Any], value: Targets
) -> Part:
    """One tree numbered level by level, so that siblings stand side by side after their parent."""
    order, at = [0], 0
    place = {0: 0}
    while at < len(order):
        node = order[at]
        at += 1
        if left[node] >= 0:
            for below in (int(left[node]), int(right[node])):
                place[below] = len(order)
                order.append(below)
    kept = np.array(order)
    leaf = left[kept] < 0
    child = np.arange(len(kept))
    child[~leaf] = [place[int(node)] for node in left[kept[~leaf]]]
    return {
        "feature": np.where(leaf, 0, feature[kept]).astype(np.int16),
        "threshold": np.where(leaf, np.float32(np.inf), _round_down(threshold[kept])).astype(np.float32),
        "child": child.astype(np.int32),
        "value": np.where(leaf, value[kept], 0.0),
    }


def _round_down(threshold: Targets) -> NDArray[np.float32]:
    """The largest float32 not above: then `x <= t` says the same for every float32 x."""
    rounded = threshold.astype(np.float32)
    above = rounded.astype(np.float64) > threshold
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


def _one_per_leaf(forest: FlatForest, rows: Rows, targets: Targets, seed: int) -> NDArray[np.float32]:
    # The quantile over trees of one random target each is calibrated; over tree means it is too narrow.
    sample = forest.value.astype(np.float32)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(len(rows)), (forest.trees, 1)), axis=1)
    for leaves, shuffled in zip(forest.leaves(rows), order, strict=True):
        sample[leaves[shuffled]] = targets[shuffled]
    return sample
