"""Runs the tests of the pages' pure modules under node, where node is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "js"


def test_pure_modules_of_the_pages() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; it is needed only to test the pages' scripts")
    files = sorted(str(path) for path in TESTS.glob("*.test.mjs"))
    done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
