"""Model files from the object store that mean harm: refused, never executed, and nothing of them is kept.

The first table is refused before anything is parsed; the second is signed by the fleet's own key, as by a
trainer that was taken over, and is refused by the bounds that every file must keep.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outrider.router import artifact, signing
from outrider.router.artifact import FOREST, MANIFEST, MOST_MANIFEST_BYTES, SIGNATURE, ModelStore
from outrider.router.features import COUNT, SCHEMA
from outrider.router.flat_forest import DTYPES, MOST_BYTES, MOST_NODES, MOST_TREES, ModelRefused
from tests.unit.router.test_artifact import TRAINED

VERSION = "ledger-7-0123456789"
Files = dict[str, bytes]
Arrays = dict[str, Any]

GOOD_ARRAYS: Arrays = {name: getattr(TRAINED.forest, name).astype(kind) for name, kind in DTYPES.items()}
GOOD_ARRAYS["features"] = np.int32(COUNT)


@pytest.fixture
def trainer(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "trainer")
    signing.signing_key(store.keys)
    return store


@pytest.fixture
def replica(tmp_path: Path, trainer: ModelStore) -> ModelStore:
    """Another machine: it knows the public key and nothing else."""
    return ModelStore(tmp_path / "replica", signing.public_key(trainer.keys))


def manifest_of(data: bytes, /, **changes: Any) -> bytes:
    manifest = {
        "format": artifact.MANIFEST_FORMAT,
        "version": VERSION,
        "feature_schema": SCHEMA,
        "forest": {"file": FOREST, "sha256": hashlib.sha256(data).hexdigest()},
    }
    return json.dumps(manifest | changes).encode()


def signed(store: ModelStore, forest: bytes, manifest: bytes | None = None) -> Files:
    raw = manifest_of(forest) if manifest is None else manifest
    return {FOREST: forest, MANIFEST: raw, SIGNATURE: signing.sign(store.keys, raw)}


def test_a_good_model_from_elsewhere_is_kept_and_serves(trainer: ModelStore, replica: ModelStore) -> None:
    replica.install(VERSION, signed(trainer, TRAINED.forest.to_bytes()))
    replica.promote(VERSION)
    assert replica.load_serving().version == VERSION


# ---- refused before anything is parsed

Damage = Callable[[Files, ModelStore, Path], None]


def put(name: str, data: bytes) -> Damage:
    def damage(files: Files, _store: ModelStore, _path: Path) -> None:
        files[name] = data

    return damage


def change(name: str, by: Callable[[bytes], bytes]) -> Damage:
    def damage(files: Files, _store: ModelStore, _path: Path) -> None:
        files[name] = by(files[name])

    return damage


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def by_foreign_key(files: Files, _store: ModelStore, path: Path) -> None:
    files[SIGNATURE] = signing.sign(path / "foreign", files[MANIFEST])


def signature_of_the_forest(files: Files, store: ModelStore, _path: Path) -> None:
    files[SIGNATURE] = signing.sign(store.keys, files[FOREST])


def old_manifest(files: Files, store: ModelStore, _path: Path) -> None:
    """Signed and whole, but of another model: the hash is that of other bytes."""
    raw = manifest_of(b"another forest")
    files |= {MANIFEST: raw, SIGNATURE: signing.sign(store.keys, raw)}


def with_hash(wanted: Any) -> Damage:
    def damage(files: Files, store: ModelStore, _path: Path) -> None:
        raw = manifest_of(files[FOREST], forest=wanted)
        files |= {MANIFEST: raw, SIGNATURE: signing.sign(store.keys, raw)}

    return damage


def signed_manifest(raw: bytes) -> Damage:
    def damage(files: Files, store: ModelStore, _path: Path) -> None:
        files |= {MANIFEST: raw, SIGNATURE: signing.sign(store.keys, raw)}

    return damage


def changed_manifest(**changes: Any) -> Damage:
    def damage(files: Files, store: ModelStore, _path: Path) -> None:
        raw = manifest_of(files[FOREST], **changes)
        files |= {MANIFEST: raw, SIGNATURE: signing.sign(store.keys, raw)}

    return damage


def lacking(name: str) -> Damage:
    def damage(files: Files, _store: ModelStore, _path: Path) -> None:
        del files[name]

    return damage


BEFORE_PARSING: dict[str, Damage] = {
    "forest truncated at its half": change(FOREST, lambda data: data[: len(data) // 2]),
    "forest without its last byte": change(FOREST, lambda data: data[:-1]),
    "forest with a byte more": change(FOREST, lambda data: data + b"\0"),
    "forest with a flipped bit at its start": change(FOREST, lambda data: flip(data, 0)),
    "forest with a flipped bit at its end": change(FOREST, lambda data: flip(data, -1)),
    "forest empty": put(FOREST, b""),
    "forest missing": lacking(FOREST),
    "forest that is a pickle": put(FOREST, pickle.dumps({"trees": []})),
    "forest that is a program": put(FOREST, b"#!/bin/sh\n"),
    "signature missing": lacking(SIGNATURE),
    "signature empty": put(SIGNATURE, b""),
    "signature of zeros": put(SIGNATURE, base64.b64encode(bytes(64))),
    "signature too short": put(SIGNATURE, base64.b64encode(bytes(63))),
    "signature that is no base64": put(SIGNATURE, b"\xff" * 88),
    "signature of a megabyte": put(SIGNATURE, b"A" * 1_000_000),
    "signature with a flipped bit": change(SIGNATURE, lambda data: flip(data, 10)),
    "signature by a foreign key": by_foreign_key,
    "signature over something else": signature_of_the_forest,
    "manifest missing": lacking(MANIFEST),
    "manifest empty": put(MANIFEST, b""),
    "manifest with a flipped bit": change(MANIFEST, lambda data: flip(data, 5)),
    "manifest with a space more": change(MANIFEST, lambda data: data + b" "),
    "manifest of another model": old_manifest,
    "manifest with the hash of nothing": with_hash({"sha256": ""}),
    "manifest with a list for a hash": with_hash({"sha256": []}),
    "manifest without a forest": with_hash(None),
    "manifest with a number for a forest": with_hash(5),
    "signed manifest that is no JSON": signed_manifest(b"{"),
    "signed manifest that is a list": signed_manifest(b"[]"),
    "signed manifest that is no text": signed_manifest(b"\xff\xfe"),
    "signed manifest of a hundred thousand brackets": signed_manifest(b"[" * 100_000),
    "signed manifest that is huge": signed_manifest(b" " * (MOST_MANIFEST_BYTES + 1)),
    "signed manifest of an unknown format": changed_manifest(format=99),
    "signed manifest for other features": changed_manifest(feature_schema="other"),
    "signed manifest of another version": changed_manifest(version="ledger-8-0"),
}


@pytest.mark.parametrize("what", BEFORE_PARSING)
def test_what_is_not_the_fleets_is_refused_before_it_is_parsed(
    trainer: ModelStore, replica: ModelStore, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = signed(trainer, TRAINED.forest.to_bytes())
    BEFORE_PARSING[what](files, trainer, tmp_path)
    monkeypatch.setattr(artifact, "forest_from_bytes", lambda _: pytest.fail("was parsed"))
    with pytest.raises(ModelRefused) as caught:
        replica.install(VERSION, files)
    assert caught.value.message
    assert not replica.state_folder.exists(), "nothing of it was kept"


@pytest.mark.parametrize("version", ["../../etc", "", "a/b", "x" * 65, "a b", "..", "a.b"])
def test_a_version_that_leads_out_of_the_folder_is_refused(
    trainer: ModelStore, replica: ModelStore, version: str
) -> None:
    with pytest.raises(ModelRefused):
        replica.install(version, signed(trainer, TRAINED.forest.to_bytes()))


def test_without_a_key_nothing_is_trusted_and_the_hint_says_what_to_do(
    trainer: ModelStore, tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused) as caught:
        ModelStore(tmp_path / "alone").install(VERSION, signed(trainer, TRAINED.forest.to_bytes()))
    assert "OUTRIDER_MODEL_KEY" in caught.value.hint


# ---- signed by the fleet's own key, and hostile all the same


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


@pytest.mark.parametrize("what", SIGNED)
def test_what_is_signed_and_hostile_is_refused_and_never_executed(
    trainer: ModelStore, replica: ModelStore, tmp_path: Path, what: str
) -> None:
    trace = tmp_path / "went-off"
    files = signed(trainer, SIGNED[what](trace))
    with pytest.raises(ModelRefused) as caught:
        replica.install(VERSION, files)
    assert caught.value.message
    assert not trace.exists(), "it was executed"
    assert not replica.state_folder.exists(), "nothing of it was kept"


def test_there_are_more_than_fifty_of_them() -> None:
    assert len(BEFORE_PARSING) + len(SIGNED) >= 50
