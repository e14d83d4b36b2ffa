"""The notebook runs from its first cell to its last, as a reader would run it, and draws its pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "notebooks"
RUN = """
import json, sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
names = {"__name__": "__main__"}
for number, source in enumerate(json.load(sys.stdin)):
    exec(compile(source, f"cell {number}", "exec"), names)
print("figures", len(plt.get_fignums()))
"""


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "router.ipynb").read_text(encoding="utf-8"))["cells"]
    return found


def test_the_notebook_runs_and_draws_features_calibration_policies_and_drift(tmp_path: Path) -> None:
    sources = ["".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code"]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=FOLDER,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
        input=json.dumps(sources).encode(),
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    assert "figures 4" in said
    assert "1500 requests, 1710 answers of 19 endpoints" in said


def test_the_pictures_are_in_the_file_for_who_only_reads_it() -> None:
    outputs = [output for cell in cells() for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4


def test_the_sample_is_small_and_its_sources_are_named() -> None:
    notices = (FOLDER.parent / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    for path in (FOLDER / "sample").iterdir():
        assert path.stat().st_size < 50_000
        assert path.name in notices
