"""Copies the browser libraries into `ui/static/vendor` from npm, by exact version; for developers only.

Needs `npm`. Nothing of this runs at installation or in tests: the result is committed, and
`vendor.lock.json` says what every file must hash to.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENDOR = ROOT / "ui" / "static" / "vendor"


@dataclass(frozen=True)
class Package:
    """One npm package and which of its files are served under which name."""

    name: str
    version: str
    licence: str
    files: dict[str, str]


PACKAGES = (
    Package(
        "preact", "11.2.0", "MIT", {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "preact-hooks.js"}
    ),
    Package("@preact/signals", "2.11.4", "MIT", {"dist/signals.mjs": "signals.js"}),
    Package("@preact/signals-core", "1.14.5", "MIT", {"dist/signals-core.mjs": "signals-core.js"}),
    Package("htm", "3.1.1", "Apache-2.0", {"dist/htm.mjs": "htm.js", "preact/index.mjs": "htm-preact.js"}),
    Package(
        "uplot", "1.6.32", "MIT", {"dist/uPlot.iife.min.js": "uplot.js", "dist/uPlot.min.css": "uplot.css"}
    ),
)

# A bare name would need an import map, which is inline script and so forbidden by the pages' own policy.
IMPORTS = {
    "preact": "./preact.js",
    "preact/hooks": "./preact-hooks.js",
    "@preact/signals-core": "./signals-core.js",
    "htm": "./htm.js",
}
BARE = re.compile(r'from\s*"([^"./][^"]*)"')
SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=.*\s*$")


def main() -> None:
    (VENDOR / "LICENSES").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        lock = [vendor(package, Path(folder)) for package in PACKAGES]
    (VENDOR / "vendor.lock.json").write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
    (ROOT / "THIRD_PARTY_NOTICES.md").write_text(notices(), encoding="utf-8")


def vendor(package: Package, folder: Path) -> dict[str, object]:
    """Fetch, check and copy one package; returns its entry of the lock file."""
    answer = subprocess.run(
        ["npm", "pack", "--json", f"{package.name}@{package.version}"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    packed = json.loads(answer.stdout)[0]
    archive = folder / packed["filename"]
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if integrity != packed["integrity"]:
        sys.exit(f"{package.name}: the archive does not have the integrity that npm states")
    with tarfile.open(archive) as tar:
        outputs = {to: write(package, to, member(tar, source)) for source, to in package.files.items()}
        (VENDOR / "LICENSES" / licence_file(package)).write_text(member(tar, "LICENSE"), encoding="utf-8")
    return {
        "name": package.name,
        "version": package.version,
        "licence": package.licence,
        "integrity": integrity,
        "files": outputs,
    }


def member(tar: tarfile.TarFile, name: str) -> str:
    found = tar.extractfile(f"package/{name}")
    if found is None:
        sys.exit(f"{name} is not in the package")
    return found.read().decode("utf-8")


def write(package: Package, name: str, text: str) -> str:
    """Write one file with its banner; returns its sha256."""
    text = BARE.sub(lambda match: f'from"{IMPORTS[match.group(1)]}"', SOURCE_MAP.sub("", text))
    if name == "uplot.js":
        text = text.rstrip() + "\nexport default uPlot;\n"
    change = "import paths rewritten" if name.endswith(".js") else "unchanged"
    banner = f"/* {package.name} {package.version}, {package.licence}, see LICENSES/; {change} */\n"
    content = (banner + text.rstrip() + "\n").encode()
    (VENDOR / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def licence_file(package: Package) -> str:
    return package.name.replace("@", "").replace("/", "-") + ".txt"


def notices() -> str:
    lines = [
        "# Third-party notices",
        "",
        "The pages under `ui/static/` carry these libraries in `ui/static/vendor/`; only their import",
        "paths are rewritten, and a banner is added. `tools/vendor_web.py` copies them and",
        "`vendor.lock.json` pins them.",
        "",
        "| library | version | licence | text |",
        "|---|---|---|---|",
    ]
    for package in PACKAGES:
        where = f"ui/static/vendor/LICENSES/{licence_file(package)}"
        lines.append(f"| {package.name} | {package.version} | {package.licence} | [{where}]({where}) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
