"""A checker that cannot fail proves nothing: every planted bug is noticed within 500 seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from outrider.broker.errors import OutriderError
from tests.sim.all_bugs import BUGS, planted
from tests.sim.world import simulate

ROOT = Path(__file__).parents[2]
WITHIN_SEEDS = 500


@pytest.mark.parametrize("name", sorted(BUGS))
def test_the_simulator_notices(name: str) -> None:
    with planted(name):
        assert any(noticed(seed) for seed in range(WITHIN_SEEDS)), f"{name} goes unnoticed"


def noticed(seed: int) -> bool:
    """Whether the world of this seed breaks a rule, or falls over: a bug may do either."""
    try:
        return bool(simulate(seed).violations)
    except OutriderError:
        return True


def test_the_pages_say_how_many_and_which() -> None:
    promises, record = (
        (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("promises.md", "track-record.md")
    )
    assert f"each of {len(BUGS)} planted bugs" in promises
    assert [name for name in BUGS if f"`{name}` |" not in record] == []
