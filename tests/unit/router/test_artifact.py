"""Models on disk: what is not signed, not whole or made for other features is refused before it is parsed."""

import json
import pickle
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outrider.router import artifact, show, signing
from outrider.router.artifact import ESTIMATOR, FOREST, MANIFEST, SHIPPED, SIGNATURE, Model, ModelStore
from outrider.router.dataset import Table
from outrider.router.features import COUNT, NAMES, SCHEMA
from outrider.router.flat_forest import ModelRefused
from outrider.router.training import Trained, fit


def small() -> Trained:
    draw = np.random.default_rng(1)
    features = draw.normal(size=(300, COUNT)).astype(np.float32)
    base = np.zeros(300)
    return fit(Table(features, base, base, features[:, 0].astype(float)), trees=4, depth=3)


TRAINED = small()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


@pytest.fixture
def version(store: ModelStore) -> str:
    saved = store.save(TRAINED.forest, TRAINED.estimator, {"metrics": {}}, "test")
    store.promote(saved)
    return saved


def test_the_shipped_model_is_whole_small_and_for_these_features() -> None:
    model = ModelStore(Path("no-such-folder")).load_serving()
    assert isinstance(model, Model)
    assert model.manifest["feature_schema"] == SCHEMA
    assert model.manifest["features"] == list(NAMES)
    assert model.manifest["metrics"]["model"]["mae_log"] < model.manifest["metrics"]["average"]["mae_log"]
    assert 0.85 <= model.manifest["metrics"]["model"]["p90_coverage"] <= 0.95
    assert (SHIPPED / FOREST).stat().st_size < 600_000


def test_a_promoted_model_serves_and_shows(store: ModelStore, version: str) -> None:
    assert store.load_serving().version == version
    shown = show(store.state_folder)
    assert (shown["version"], shown["source"]) == (version, "state_folder")
    assert show(store.state_folder / "empty")["source"] == "shipped"


def test_the_estimator_beside_a_model_predicts_what_the_forest_does(store: ModelStore, version: str) -> None:
    rows = np.random.default_rng(2).normal(size=(20, COUNT)).astype(np.float32)
    forest = store.load(version).forest
    assert (forest.mean(forest.leaves(rows)) == store.load_estimator(version).predict(rows)).all()


def test_the_key_is_readable_by_its_owner_only(store: ModelStore, version: str) -> None:
    seed = store.keys / signing.SEED_FILE
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600
    assert (store.keys / signing.PUBLIC_FILE).read_text().startswith("A")


def flip(path: Path, at: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    (folder / MANIFEST).write_text(json.dumps(manifest))


def foreign_signature(store: ModelStore, folder: Path) -> None:
    foreign = store.state_folder / "foreign"
    (folder / SIGNATURE).write_bytes(signing.sign(foreign, (folder / MANIFEST).read_bytes()))


def swap_forest(store: ModelStore, folder: Path) -> None:
    (folder / FOREST).write_bytes((SHIPPED / FOREST).read_bytes())


DAMAGE: dict[str, Any] = {
    "a bit of the forest": lambda s, f: flip(f / FOREST),
    "a bit of the manifest": lambda s, f: flip(f / MANIFEST),
    "a bit of the signature": lambda s, f: flip(f / SIGNATURE),
    "another forest": swap_forest,
    "a manifest with another hash": lambda s, f: rewrite_manifest(f, forest={"sha256": "00"}),
    "a manifest without a forest": lambda s, f: rewrite_manifest(f, forest=None),
    "a signature of a foreign key": foreign_signature,
    "no signature": lambda s, f: (f / SIGNATURE).unlink(),
    "an empty signature": lambda s, f: (f / SIGNATURE).write_bytes(b""),
    "no manifest": lambda s, f: (f / MANIFEST).unlink(),
    "no forest": lambda s, f: (f / FOREST).unlink(),
    "no key": lambda s, f: (s.keys / signing.PUBLIC_FILE).unlink(),
    "a damaged key": lambda s, f: (s.keys / signing.PUBLIC_FILE).write_bytes(b"AAAA"),
    "a version that leads elsewhere": lambda s, f: s.pointer.write_text("../../../etc"),
    "a version that is not there": lambda s, f: s.pointer.write_text("test-0"),
    "a pointer that is no text": lambda s, f: s.pointer.write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_or_foreign_model_is_refused(
    store: ModelStore, version: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    DAMAGE[what](store, store.folder(version))
    monkeypatch.setattr(
        artifact, "forest_from_bytes", lambda _: pytest.fail("was parsed before it was checked")
    )
    with pytest.raises(ModelRefused) as caught:
        store.load_serving()
    assert caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("changes", [{"format": 99}, {"feature_schema": "other"}, {"version": "test-1"}])
def test_a_signed_manifest_for_something_else_is_refused(
    store: ModelStore, version: str, changes: dict[str, Any]
) -> None:
    folder = store.folder(version)
    rewrite_manifest(folder, **changes)
    (folder / SIGNATURE).write_bytes(signing.sign(store.keys, (folder / MANIFEST).read_bytes()))
    with pytest.raises(ModelRefused):
        store.load_serving()


def test_a_shipped_model_that_was_exchanged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanged = tmp_path / "model"
    artifact.write_model(exchanged, "seed-x", TRAINED.forest.to_bytes(), {})
    monkeypatch.setattr(artifact, "SHIPPED", exchanged)
    with pytest.raises(ModelRefused, match="not the one this version was built with"):
        ModelStore(tmp_path).load(None)


class _Bomb:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_an_exchanged_estimator_file_is_never_opened(store: ModelStore, version: str, tmp_path: Path) -> None:
    went_off = tmp_path / "went-off"
    (store.folder(version) / ESTIMATOR).write_bytes(pickle.dumps(_Bomb(went_off)))
    with pytest.raises(ModelRefused, match="hash"):
        store.load_estimator(version)
    assert not went_off.exists()
    assert store.load_serving().version == version, "serving does not need the estimator"
