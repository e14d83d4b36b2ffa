"""Model files from the object store that mean harm: refused, never executed, and nothing of them is kept.

The first table is refused before anything is parsed; the second is signed by the fleet's own key, as by a
trainer that was taken over, and is refused by the bounds that every file must keep.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outrider.router import artifact, signing
from outrider.router.artifact import FOREST, MANIFEST, MOST_MANIFEST_BYTES, SIGNATURE, ModelStore
from outrider.router.features import SCHEMA
from outrider.router.flat_forest import ModelRefused
from tests.unit.router.hostile_files import SIGNED
from tests.unit.router.test_artifact import TRAINED

VERSION = "ledger-7-0123456789"
Files = dict[str, bytes]


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
