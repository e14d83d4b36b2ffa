"""Forest files that mean harm, which a trainer that was taken over could sign: makers by what is wrong."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from outrider.router.features import COUNT
from outrider.router.flat_forest import DTYPES, MOST_BYTES, MOST_NODES, MOST_TREES
from tests.unit.router.test_artifact import TRAINED

Arrays = dict[str, Any]
GOOD_ARRAYS: Arrays = {name: getattr(TRAINED.forest, name).astype(kind) for name, kind in DTYPES.items()}
GOOD_ARRAYS["features"] = np.int32(COUNT)


def packed(**changes: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **{k: v for k, v in (GOOD_ARRAYS | changes).items() if v is not None})
    return out.getvalue()


def with_one(name: str, index: int, value: Any) -> bytes:
    array = GOOD_ARRAYS[name].copy()
    array[index] = value
    return packed(**{name: array})


class _Bomb:
    """Leaves a trace wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self._path,))


def pickled_member(trace: Path) -> bytes:
    return packed(value=np.array([_Bomb(trace)] * len(GOOD_ARRAYS["value"]), dtype=object))


def pickle_under_the_name_of_an_array(trace: Path) -> bytes:
    return zipped({"value.npy": pickle.dumps(_Bomb(trace))})


def zipped(members: dict[str, bytes]) -> bytes:
    """A forest file whose members of these names are exchanged."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(packed())) as good,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in good.namelist():
            made.writestr(name, members.get(name, good.read(name)))
        for name in members.keys() - set(good.namelist()):
            made.writestr(name, members[name])
    return out.getvalue()


def npy(header: str, body: bytes = b"") -> bytes:
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + body


def shaped(descr: str, shape: str) -> bytes:
    return zipped({"value.npy": npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")})


def bomb() -> bytes:
    return zipped({"value.npy": bytes(MOST_BYTES + 1)})


def bomb_that_lies() -> bytes:
    """Says that it unpacks to little: the size in the directory is its writer's word."""
    data = bytearray(bomb())
    for at in range(len(data) - 46):
        if data[at : at + 4] == b"PK\x01\x02" and b"value.npy" in data[at + 46 : at + 60]:
            data[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(data)


def cycle() -> bytes:
    child = GOOD_ARRAYS["child"].copy()
    child[int(child[0])] = 0
    return packed(child=child)


def deep_chain() -> bytes:
    nodes = 2 * 200 + 1
    child = np.arange(nodes, dtype=np.int32)
    child[0 : nodes - 1 : 2] = np.arange(1, nodes, 2)
    child[2 : nodes - 1 : 2] = np.arange(3, nodes, 2)
    threshold = np.where(child == np.arange(nodes), np.inf, 0.0).astype(np.float32)
    feature, zeros = np.zeros(nodes, np.int16), np.zeros(nodes)
    return packed(
        roots=np.zeros(1, np.int32),
        feature=feature,
        threshold=threshold,
        child=child,
        value=zeros,
        sample=zeros.astype(np.float32),
    )


INNER, LEAF = 0, int(np.flatnonzero(GOOD_ARRAYS["child"] == np.arange(len(GOOD_ARRAYS["child"])))[0])

SIGNED: dict[str, Callable[[Path], bytes]] = {
    "a pickle among the arrays": pickled_member,
    "a pickle under the name of an array": pickle_under_the_name_of_an_array,
    "a pickle instead of the file": lambda trace: pickle.dumps(_Bomb(trace)),
    "a zip bomb": lambda _: bomb(),
    "a zip bomb that lies about its size": lambda _: bomb_that_lies(),
    "a file over the limit": lambda _: b"PK" + bytes(MOST_BYTES),
    "a shape of a thousand terabytes": lambda _: shaped("<f8", "(140737488355328,)"),
    "a shape that overflows": lambda _: shaped("<f8", "(9223372036854775807, 9223372036854775807)"),
    "a negative shape": lambda _: shaped("<f8", "(-1,)"),
    "a shape that is a program": lambda _: shaped("<f8", "__import__('os')"),
    "a type that is objects": lambda _: shaped("|O", "(3,)"),
    "a type that is unknown": lambda _: shaped("<q9", "(3,)"),
    "a header that never ends": lambda _: zipped({"value.npy": npy("{" * 60_000)}),
    "a member that leads out of the folder": lambda _: zipped({"../../evil.npy": npy("{}")}),
    "no zip file": lambda _: b"nothing of the kind",
    "a zip file without members": lambda _: zipped_nothing(),
    "an array too many": lambda _: packed(more=np.zeros(3)),
    "an array missing": lambda _: packed(child=None),
    "arrays of different lengths": lambda _: packed(sample=GOOD_ARRAYS["sample"][:-1]),
    "an index beyond the end": lambda _: with_one("child", INNER, 2_000_000_000),
    "a negative index": lambda _: with_one("child", INNER, -5),
    "an index into another tree": lambda _: with_one("child", INNER, int(GOOD_ARRAYS["roots"][1])),
    "a cycle": lambda _: cycle(),
    "a chain two hundred deep": lambda _: deep_chain(),
    "a root beyond the end": lambda _: with_one("roots", -1, 1_000_000),
    "roots out of order": lambda _: with_one("roots", 1, 0),
    "roots whose difference wraps": lambda _: packed(
        roots=np.array([0, 2_147_483_647, -2_147_483_648], np.int32)
    ),
    "too many trees": lambda _: packed(roots=np.arange(MOST_TREES + 1, dtype=np.int32)),
    "too many nodes": lambda _: packed(
        **{n: np.zeros(MOST_NODES + 1, k) for n, k in DTYPES.items() if n in ("feature", "child")}
    ),
    "a feature that is not there": lambda _: with_one("feature", INNER, COUNT),
    "a negative feature": lambda _: with_one("feature", INNER, -1),
    "a forest for more features": lambda _: packed(features=np.int32(COUNT + 1)),
    "features as text": lambda _: packed(features=np.array("many")),
    "a threshold that is no number": lambda _: with_one("threshold", INNER, np.nan),
    "an infinite threshold": lambda _: with_one("threshold", INNER, -np.inf),
    "a leaf that lets rows fall on": lambda _: with_one("threshold", LEAF, 0.0),
    "a value that is no number": lambda _: with_one("value", LEAF, np.nan),
    "an infinite value": lambda _: with_one("value", LEAF, np.inf),
    "a sample that is no number": lambda _: with_one("sample", LEAF, np.nan),
    "numbers of another type": lambda _: packed(child=GOOD_ARRAYS["child"].astype(np.int64)),
    "numbers in two dimensions": lambda _: packed(value=GOOD_ARRAYS["value"][:, None]),
    "complex numbers": lambda _: packed(value=GOOD_ARRAYS["value"].astype(np.complex128)),
}


def zipped_nothing() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w"):
        pass
    return out.getvalue()
