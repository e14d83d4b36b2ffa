"""docs/limits.md is kept true: each constant that it names exists where it says, with the value it says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from outrider.broker.stream_limits import StreamLimits
from outrider.orchestrator.config import Thresholds

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
HOME = {"Orchestrator": "orchestrator"}


def claims() -> list[tuple[str, str, float]]:
    """File, constant and value of every row that names one."""
    found = []
    for part in PAGE.split("\n## ")[1:]:
        folder = HOME.get(part.split("\n")[0], "")
        for row in part.splitlines():
            file = re.search(r"\| `([\w/]+\.py)` \|$", row)
            for name, value in re.findall(r"`([A-Z][A-Z_]+)` ([\d,]*\d(?:\.\d+)?)", row):
                if file is not None and not name.startswith("OUTRIDER_"):
                    path = file[1] if "/" in file[1] else f"{folder}/{file[1]}"
                    found.append((path, name, float(value.replace(",", ""))))
    return found


@pytest.mark.parametrize(("path", "name", "value"), claims())
def test_a_constant_is_what_the_page_says(path: str, name: str, value: float) -> None:
    source = re.search(rf"^{name} = (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert source is not None, f"{path} has no {name}"
    product = 1.0
    for factor in source[1].split("*"):
        product *= float(factor.strip().replace("_", ""))
    assert product == value


def test_there_are_many_and_every_setting_named_is_one() -> None:
    assert len(claims()) > 25
    settings = {f"OUTRIDER_{f.name.upper()}" for kind in (Thresholds, StreamLimits) for f in fields(kind)}
    named = set(re.findall(r"`(OUTRIDER_[A-Z_]+)`", PAGE))
    others = {"LARGEST_OBJECT_BYTES", "PAYLOADS", "SNAPSHOTS", "ROUTER_HISTORY"}
    assert named - settings <= {f"OUTRIDER_{name}" for name in others}
