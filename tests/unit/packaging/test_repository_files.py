"""House rules for every file of ours: it says what it is for, and it stays short."""

import ast
from pathlib import Path

from tests.unit.packaging.project import ROOT, files_of_ours

MAX_LINES = 350


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in files_of_ours(".py") if not ast.get_docstring(ast.parse(path.read_bytes()))]
    assert not silent, f"no module docstring in {_names(silent)}"


def test_no_file_is_longer_than_a_sitting() -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in files_of_ours(".py", ".js")}
    long = {path: count for path, count in lengths.items() if count > MAX_LINES}
    assert not long, f"over {MAX_LINES} lines: " + ", ".join(f"{_names([p])} ({n})" for p, n in long.items())


def _names(paths: list[Path]) -> str:
    return ", ".join(str(path.relative_to(ROOT)) for path in paths)
