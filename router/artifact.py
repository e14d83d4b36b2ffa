"""Versioned models on disk: forest, estimator and a signed manifest that holds the hashes of both.

A model is refused unless its manifest is signed by the fleet's model key (or is the one pinned below), its
files have the hashes in it and its features are ours. Serving reads only the `.npz`: the estimator is code.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outrider.broker.subjects import NAME
from outrider.router.features import COUNT, NAMES, SCHEMA
from outrider.router.flat_forest import MOST_BYTES, FlatForest, ModelRefused, forest_from_bytes
from outrider.router.signing import PUBLIC_FILE, is_signed, sign

FOREST, ESTIMATOR, MANIFEST, SIGNATURE = "forest.npz", "estimator.joblib", "manifest.json", "manifest.sig"
SERVED = (FOREST, SIGNATURE, MANIFEST)
"""What serving needs of a model, in the order of writing: the manifest last makes it complete."""
SHIPPED = Path(__file__).parent / "model"
PINNED_MANIFEST_SHA256 = "3e84f074be611db1951fcfb1a25d916b32d0d2bf3130bd4fe3a79725ec42f950"
"""Hash of the shipped model's manifest; `python -m outrider.router.seed_data` prints it."""
MANIFEST_FORMAT = 1
MOST_MANIFEST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Model:
    """A checked forest with the manifest it came with."""

    forest: FlatForest
    manifest: dict[str, Any]

    @property
    def version(self) -> str:
        return str(self.manifest["version"])


@dataclass(frozen=True, slots=True)
class ModelStore:
    """The models of one state folder. `key` is the fleet's public model key if it is not the folder's own."""

    state_folder: Path
    key: str = ""

    @property
    def keys(self) -> Path:
        return self.state_folder / "router" / "keys"

    @property
    def pointer(self) -> Path:
        """The file that names the version to serve."""
        return self.state_folder / "router" / "serving"

    def folder(self, version: str) -> Path:
        return self.state_folder / "router" / "models" / version

    def serving_version(self) -> str | None:
        """The promoted version, or None when the shipped model serves. Raises ModelRefused."""
        try:
            version = self.pointer.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ModelRefused(f"{self.pointer} cannot be read: {error}") from None
        if not NAME.fullmatch(version):
            raise ModelRefused(f"{self.pointer} names {version[:80]!r}, which is no model version")
        return version

    def save(self, forest: FlatForest, estimator: Any, about: dict[str, Any], prefix: str) -> str:
        """Write a signed model; returns its version. It serves only once promoted."""
        data = forest.to_bytes()
        version = f"{prefix}-{hashlib.sha256(data).hexdigest()[:10]}"
        write_model(self.folder(version), version, data, about, estimator)
        manifest = (self.folder(version) / MANIFEST).read_bytes()
        (self.folder(version) / SIGNATURE).write_bytes(sign(self.keys, manifest))
        return version

    def files(self, version: str) -> dict[str, bytes]:
        """What another machine needs to serve this version; never the estimator. Raises OSError."""
        return {name: (self.folder(version) / name).read_bytes() for name in SERVED}

    def install(self, version: str, files: Mapping[str, bytes]) -> None:
        """Keep a model that came from elsewhere, once it has passed every check. Raises ModelRefused.

        Nothing is written before all was found good.
        """
        self.check(version, files)
        self._write(version, files)

    def check(self, version: str, files: Mapping[str, bytes]) -> Model:
        """The model in files that came from elsewhere; nothing is kept. Raises ModelRefused.

        Nothing of it is parsed before signature and hash were found good.
        """
        if not NAME.fullmatch(version):
            raise ModelRefused(f"{version[:80]!r} is no model version")
        lacking = [name for name in SERVED if name not in files]
        if lacking:
            raise ModelRefused(f"model {version} lacks {', '.join(lacking)}")
        raw = files[MANIFEST]
        if len(raw) > MOST_MANIFEST_BYTES:
            raise ModelRefused(f"manifest of {version} is larger than {MOST_MANIFEST_BYTES} bytes")
        self._demand_signature(version, raw, files[SIGNATURE])
        return _checked(files[FOREST], _parsed(raw, version))

    def _write(self, version: str, files: Mapping[str, bytes]) -> None:
        folder = self.folder(version)
        folder.mkdir(parents=True, exist_ok=True)
        for name in SERVED:
            # Another replica may share the folder and read meanwhile: each file is whole or not there.
            beside = folder / f"{name}.{uuid.uuid4().hex}.new"
            beside.write_bytes(files[name])
            beside.replace(folder / name)

    def promote(self, version: str | None) -> None:
        """Let routers serve this version from their next look on, None for the shipped one."""
        if version is None:
            self.pointer.unlink(missing_ok=True)
            return
        self.pointer.parent.mkdir(parents=True, exist_ok=True)
        beside = self.pointer.with_suffix(".new")
        beside.write_text(version + "\n", encoding="utf-8")
        beside.replace(self.pointer)

    def load(self, version: str | None) -> Model:
        """The model of a version, None for the shipped one. Raises ModelRefused."""
        folder = SHIPPED if version is None else self.folder(version)
        manifest = self._manifest(version)
        return _checked(_read_forest(folder), manifest)

    def load_serving(self) -> Model:
        return self.load(self.serving_version())

    def load_estimator(self, version: str) -> Any:
        """The scikit-learn estimator of a version; for the training side only. Raises ModelRefused.

        A joblib file is code: it is opened only when a manifest signed by the fleet's key holds its hash.
        """
        import joblib  # noqa: PLC0415

        folder, manifest = self.folder(version), self._manifest(version)
        entry = manifest.get("estimator")
        if not isinstance(entry, dict):
            raise ModelRefused(f"model {version} holds no estimator")
        try:
            _demand_hash(ESTIMATOR, (folder / ESTIMATOR).read_bytes(), entry.get("sha256"))
        except OSError as error:
            raise ModelRefused(f"{ESTIMATOR} cannot be read: {error}") from None
        return joblib.load(folder / ESTIMATOR)

    def _manifest(self, version: str | None) -> dict[str, Any]:
        folder = SHIPPED if version is None else self.folder(version)
        try:
            raw = _read(folder / MANIFEST, MOST_MANIFEST_BYTES)
            signature = b"" if version is None else _read(folder / SIGNATURE, 1024)
        except OSError as error:
            raise ModelRefused(f"model {version or 'shipped'} cannot be read: {error}") from None
        if version is None and hashlib.sha256(raw).hexdigest() != PINNED_MANIFEST_SHA256:
            raise ModelRefused("the shipped model's manifest is not the one this version was built with")
        if version is not None:
            self._demand_signature(version, raw, signature)
        return _parsed(raw, version)

    def _demand_signature(self, version: str, raw: bytes, signature: bytes) -> None:
        if is_signed(self.keys, raw, signature, self.key):
            return
        if not self.key and not (self.keys / PUBLIC_FILE).is_file():
            hint = "set OUTRIDER_MODEL_KEY to what `outrider router key` says where models are trained"
            raise ModelRefused(f"model {version}: there is no model key here to check it with", hint=hint)
        raise ModelRefused(f"model {version} is not signed by this fleet's model key")


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _parsed(raw: bytes, version: str | None) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"manifest is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        raise ModelRefused("manifest has a format that is not known here")
    if version is not None and manifest.get("version") != version:
        raise ModelRefused(f"manifest of {version} names another version")
    if manifest.get("feature_schema") != SCHEMA:
        raise ModelRefused(f"model {manifest.get('version')} was made for other features")
    return manifest


def _read_forest(folder: Path) -> bytes:
    try:
        return _read(folder / FOREST, MOST_BYTES + 1)
    except OSError as error:
        raise ModelRefused(f"{FOREST} cannot be read: {error}") from None


def _demand_hash(name: str, data: bytes, wanted: Any) -> None:
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ModelRefused(f"{name} does not have the hash that its manifest holds")


def _checked(data: bytes, manifest: dict[str, Any]) -> Model:
    entry = manifest.get("forest")
    _demand_hash(FOREST, data, entry.get("sha256") if isinstance(entry, dict) else None)
    forest = forest_from_bytes(data)
    if forest.features != COUNT:
        raise ModelRefused(f"forest takes {forest.features} features, not {COUNT}")
    return Model(forest, manifest)


def write_model(
    folder: Path, version: str, forest: bytes, about: dict[str, Any], estimator: Any = None
) -> None:
    """Write the files of one model; the manifest last, so that a half-written model is never complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FOREST).write_bytes(forest)
    manifest = {
        "format": MANIFEST_FORMAT,
        "version": version,
        "features": list(NAMES),
        "feature_schema": SCHEMA,
        "target": "log(service_s + 0.001) less what the agent usually needs",
        "forest": {"file": FOREST, "sha256": hashlib.sha256(forest).hexdigest(), "bytes": len(forest)},
    }
    if estimator is not None:
        manifest["estimator"] = {"file": ESTIMATOR, "sha256": _dump_estimator(folder / ESTIMATOR, estimator)}
    text = json.dumps(manifest | about, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")


def _dump_estimator(path: Path, estimator: Any) -> str:
    import joblib  # noqa: PLC0415

    joblib.dump(estimator, path, compress=3)
    path.chmod(0o600)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shipped_version() -> str:
    """The version of the model in the package. Raises ModelRefused."""
    return str(ModelStore(Path())._manifest(None)["version"])


def manifest_hash(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def serving_manifest(state_folder: Path) -> dict[str, Any]:
    """The manifest of the model that serves, and where it comes from. Raises ModelRefused."""
    store = ModelStore(state_folder)
    version = store.serving_version()
    model = store.load(version)
    return model.manifest | {"source": "shipped" if version is None else "state_folder"}
