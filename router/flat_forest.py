"""Trees as plain arrays: written at training time, checked before use, walked with numpy.

Why: `RandomForestRegressor.predict` costs 4-8 ms a call; this walk costs a tenth and gives the same bits.
Pure but for the file format; knows nothing of features or of scikit-learn (`flattening.py` does).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outrider.broker.errors import OutriderError

MOST_BYTES = 32 * 1024 * 1024
MOST_NODES = 2_000_000
MOST_TREES = 1024
MOST_LEVELS = 32
BLOCK = 256
"""Rows walked together: the work arrays of a block stay in the processor's cache."""
FEW = 32
"""Up to so many rows the cost is that of calls and of memory touched, not of numbers."""
_FEATURE_BITS = 10
_FEATURE_MASK = (1 << _FEATURE_BITS) - 1

DTYPES: dict[str, Any] = {
    "roots": np.int32,
    "feature": np.int16,
    "threshold": np.float32,
    "child": np.int32,
    "value": np.float64,
    "sample": np.float32,
}


AROUND_MEAN = "around_mean"
"""Stands in a file only when it is so."""


class ModelRefused(OutriderError):
    """A model file is damaged, foreign or made for another version."""

    code = "model_refused"
    default_hint = "the router goes on with the model it has; `outrider router train` makes a new one"


def _demand(holds: bool | np.bool_, what: str) -> None:
    if not holds:
        raise ModelRefused(f"forest file: {what}")


@dataclass(frozen=True, slots=True)
class FlatForest:
    """Trees in one row of nodes. The right child stands after the left; a leaf is its own child.

    `value` is the mean target of a leaf, `sample` one random training target of it. Boosted trees are the
    same: their values are scaled so that the mean over trees is the prediction, and `around_mean` says that
    `sample` holds what the prediction missed, since a leaf of one of them says little of the target itself.
    """

    features: int
    roots: NDArray[np.intp]
    feature: NDArray[np.intp]
    threshold: NDArray[np.float32]
    child: NDArray[np.intp]
    value: NDArray[np.float64]
    sample: NDArray[np.float32]
    levels: int
    around_mean: bool = False
    _nodes: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    """Child and feature in one number, and the bits of the threshold: one look at memory for each node."""

    def __post_init__(self) -> None:
        links = (self.child.astype(np.int64) << _FEATURE_BITS) | self.feature
        nodes = np.column_stack([links, self.threshold.astype(np.float64).view(np.int64)])
        object.__setattr__(self, "_nodes", nodes)

    @property
    def trees(self) -> int:
        return len(self.roots)

    def leaves(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        """The leaf of each tree for each row, shape (trees, rows). Raises ModelRefused for other shapes."""
        _demand(
            rows.ndim == 2 and rows.shape[1] == self.features, f"rows of {self.features} features expected"
        )
        _demand(np.isfinite(rows).all(), "features must be finite numbers")
        if len(rows) <= FEW:
            return self._walk_few(rows)
        found = np.empty((self.trees, len(rows)), np.intp)
        flat = np.ascontiguousarray(rows, np.float32).ravel()
        for start in range(0, len(rows), BLOCK):
            end = min(start + BLOCK, len(rows))
            found[:, start:end] = self._walk(flat, start, end)
        return found

    def _walk(self, flat: NDArray[np.float32], start: int, end: int) -> NDArray[np.intp]:
        offsets = np.arange(start, end) * self.features
        node = np.repeat(self.roots[:, None], end - start, axis=1)
        for _ in range(self.levels):
            at = self.feature.take(node)
            at += offsets
            right = flat.take(at) > self.threshold.take(node)
            node = self.child.take(node)
            node += right
        return node

    def _walk_few(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        size = self.trees * len(rows)
        flat = rows.astype(np.float64).ravel()
        node = self.roots.repeat(len(rows))
        starts = np.empty((self.trees, len(rows)), np.intp)
        starts[:] = np.arange(0, rows.size, self.features)
        offsets = starts.ravel()
        records = np.empty((size, 2), np.int64)
        links, thresholds = records[:, 0], records[:, 1].view(np.float64)
        at, value, right = np.empty(size, np.intp), np.empty(size), np.empty(size, np.bool_)
        # As arrays, and outputs by position: a call then costs less beside its work.
        mask, shift = np.array(_FEATURE_MASK), np.array(_FEATURE_BITS)
        for _ in range(self.levels):
            # Every index is inside its array; "clip" only keeps NumPy from buffering the output.
            self._nodes.take(node, 0, records, "clip")
            np.bitwise_and(links, mask, at)
            np.add(at, offsets, at)
            flat.take(at, None, value, "clip")
            np.greater(value, thresholds, right)
            np.right_shift(links, shift, node)
            np.add(node, right, node)
        return node.reshape(self.trees, len(rows))

    def mean(self, leaves: NDArray[np.intp]) -> NDArray[np.float64]:
        """The forest's prediction for each row: summed tree by tree in order, as scikit-learn does."""
        values = self.value.take(leaves)
        if leaves.shape[1] <= FEW:
            # Running sums, because a plain sum may add in another order.
            few: NDArray[np.float64] = np.add.accumulate(values, axis=0)[-1] / self.trees
            return few
        total = np.zeros(leaves.shape[1])
        for row in values:
            total += row
        total /= self.trees
        return total

    def quantile(self, leaves: NDArray[np.intp], share: float) -> NDArray[np.float64]:
        """The value that `share` of what the leaves hold stays under, for each row."""
        at = min(self.trees - 1, int(share * self.trees))
        samples = self.sample.take(leaves.T)
        samples.partition(at, axis=1)
        found = samples[:, at].astype(np.float64)
        return found + self.mean(leaves) if self.around_mean else found

    def to_bytes(self) -> bytes:
        """The `.npz` file; equal forests give equal bytes."""
        out = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(self, name).astype(kind) for name, kind in DTYPES.items()}
        arrays["features"] = np.int32(self.features)
        if self.around_mean:
            arrays[AROUND_MEAN] = np.int32(1)
        np.savez_compressed(out, allow_pickle=False, **arrays)
        return out.getvalue()


def forest_from_bytes(data: bytes) -> FlatForest:
    """The forest in an `.npz` file after every bound was checked. Raises ModelRefused."""
    try:
        arrays = _read_arrays(data)
    except ModelRefused:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile and numpy raise many kinds for a damaged file
        raise ModelRefused(f"forest file cannot be read: {type(error).__name__}: {error}") from None
    return forest_from_arrays(**arrays)


def _read_arrays(data: bytes) -> dict[str, Any]:
    _demand(len(data) <= MOST_BYTES, f"larger than {MOST_BYTES} bytes")
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        _demand(
            sum(i.file_size for i in packed.infolist()) <= MOST_BYTES, f"unpacks to over {MOST_BYTES} bytes"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        names = set(found.files) - {AROUND_MEAN}
        _demand(names == {*DTYPES, "features"}, "its arrays are not the expected ones")
        arrays = {name: found[name] for name in found.files}
    for name, kind in DTYPES.items():
        _demand(arrays[name].dtype == kind and arrays[name].ndim == 1, f"{name} has another type or shape")
    for name in arrays.keys() - DTYPES.keys():
        _demand(arrays[name].dtype == np.int32 and arrays[name].ndim == 0, f"{name} is not a number")
        arrays[name] = int(arrays[name])
    return arrays


def forest_from_arrays(
    *,
    features: int,
    roots: Any,
    feature: Any,
    threshold: Any,
    child: Any,
    value: Any,
    sample: Any,
    around_mean: int = 0,
) -> FlatForest:
    """A forest whose walk provably stays inside its arrays and ends. Raises ModelRefused."""
    nodes = len(feature)
    _demand(1 <= features <= 1000 and 1 <= nodes <= MOST_NODES, "number of features or nodes out of range")
    _demand(all(len(a) == nodes for a in (threshold, child, value, sample)), "arrays differ in length")
    _demand(1 <= len(roots) <= MOST_TREES, "number of trees out of range")
    # The differences of int32 may wrap.
    roots = np.asarray(roots, np.int64)
    _demand(roots[0] == 0 and (np.diff(roots) > 0).all() and roots[-1] < nodes, "roots out of order")
    _demand(around_mean in (0, 1), "around_mean is neither 0 nor 1")
    _demand((feature >= 0).all() and (feature < features).all(), "feature out of range")
    _demand(np.isfinite(value).all() and np.isfinite(sample).all(), "values must be finite")
    levels = _checked_levels(np.asarray(roots, np.intp), threshold, np.asarray(child, np.intp))
    return FlatForest(
        features,
        np.asarray(roots, np.intp),
        np.asarray(feature, np.intp),
        np.asarray(threshold, np.float32),
        np.asarray(child, np.intp),
        np.asarray(value, np.float64),
        np.asarray(sample, np.float32),
        levels,
        bool(around_mean),
    )


def _checked_levels(roots: NDArray[np.intp], threshold: Any, child: NDArray[np.intp]) -> int:
    """The depth of the deepest tree, after checking that there are trees at all."""
    nodes = len(child)
    own = np.arange(nodes)
    leaf = child == own
    tree_end = np.append(roots[1:], nodes)[np.searchsorted(roots, own, side="right") - 1]
    _demand(((child > own) | leaf).all(), "a child stands before its parent")
    _demand((leaf | (child + 1 < tree_end)).all(), "a child stands outside its tree")
    _demand(np.isfinite(threshold[~leaf]).all(), "thresholds must be finite")
    _demand(np.isposinf(threshold[leaf]).all(), "a leaf must keep every row")
    left = child[~leaf]
    parents = np.bincount(np.concatenate([left, left + 1]), minlength=nodes)
    parents[roots] += 1
    _demand((parents == 1).all(), "a node has no parent or several")
    return _depth(roots, child, leaf)


def _depth(roots: NDArray[np.intp], child: NDArray[np.intp], leaf: NDArray[np.bool_]) -> int:
    level, front = 0, roots[~leaf[roots]]
    while len(front):
        level += 1
        _demand(level <= MOST_LEVELS, f"deeper than {MOST_LEVELS} levels")
        below = np.concatenate([child[front], child[front] + 1])
        front = below[~leaf[below]]
    return level
