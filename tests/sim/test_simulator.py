"""The product holds in many random worlds, and a product with a planted bug does not."""

from __future__ import annotations

import pytest

from tests.sim import planted_bugs  # noqa: F401 - registers the bugs
from tests.sim.planting import BUGS, planted
from tests.sim.world import simulate

SEEDS = 2000
WITHIN = 500


def broken_in(seeds: range) -> int | None:
    """The first seed in which a rule is broken, or None."""
    return next((seed for seed in seeds if simulate(seed, is_traced=False).violations), None)


@pytest.mark.slow
def test_no_rule_is_broken_in_any_world() -> None:
    seed = broken_in(range(SEEDS))
    assert seed is None, f"python -m tests.sim --seed {seed} --trace shows it"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_planted_bug_is_caught(name: str) -> None:
    with planted(name):
        assert broken_in(range(WITHIN)) is not None
