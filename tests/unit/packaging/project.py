"""What pyproject.toml says and which files are ours, for the tests of this folder."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOP_FOLDERS = ("broker", "ledger", "orchestrator", "router", "agents", "client", "ui", "cli")


def files_of_ours(*suffixes: str) -> list[Path]:
    """Tracked files and new ones that are not ignored, so that a file is checked before it is committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in sorted(set(names.split("\0"))) if name.endswith(suffixes)]
    return [path for path in paths if path.is_file() and "vendor" not in path.relative_to(ROOT).parts]
