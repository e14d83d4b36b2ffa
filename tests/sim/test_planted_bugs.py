"""A checker that cannot fail proves nothing: every planted bug is noticed within 500 seeds."""

from __future__ import annotations

import pytest

from tests.sim import (  # noqa: F401 - they register the bugs
    operator_bugs,
    planted_bugs,
    planted_flow_bugs,
    planted_limit_bugs,
    planted_overload,
    planted_queue_bugs,
    planted_snapshot_bugs,
)
from tests.sim.planting import BUGS, planted
from tests.sim.world import simulate

WITHIN_SEEDS = 500


@pytest.mark.parametrize("name", sorted(BUGS))
def test_the_simulator_notices(name: str) -> None:
    with planted(name):
        assert any(simulate(seed).violations for seed in range(WITHIN_SEEDS)), f"{name} goes unnoticed"


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 15
