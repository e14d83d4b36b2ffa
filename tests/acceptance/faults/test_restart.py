"""A restart with a long past: the short form of `benchmarks/restart.py`."""

from __future__ import annotations

import pytest
from benchmarks.restart import measure

FIRST_ASSIGNMENT_WITHIN_S = 20.0
MOST_MEMORY_MB = 256.0


@pytest.mark.slow
async def test_the_first_assignment_comes_soon_and_memory_is_bounded() -> None:
    report = await measure(entries=60_000, queued=5_000, every=20_000)
    assert report["snapshot"]["open_tasks"] <= 1, "what is open was assigned after the snapshot"
    for form in ("without_snapshot", "with_snapshot"):
        assert report[form]["first_assignment_s"] <= FIRST_ASSIGNMENT_WITHIN_S, report
        assert report[form]["memory_mb"] <= MOST_MEMORY_MB, report
    assert report["router"]["memory_mb"] <= MOST_MEMORY_MB, report
    assert report["bridge"]["memory_mb"] <= MOST_MEMORY_MB, report
