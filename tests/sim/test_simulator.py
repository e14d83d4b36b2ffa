"""Two thousand worlds break and mend, and nothing is lost, recorded twice or left over in any of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.sim.world import simulate

SEEDS, AT_ONCE = 2000, 100
"""In portions, so that no test comes near its time limit."""


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_rule_is_broken(first: int) -> None:
    broken = [
        f"seed {report.seed}: {violation}"
        for report in map(simulate, range(first, first + AT_ONCE))
        for violation in report.violations
    ]
    assert not broken, "\n".join(broken)


def test_the_worlds_are_worth_their_name() -> None:
    """Tasks end in every way, and enough goes wrong."""
    reports = [simulate(seed) for seed in range(60)]
    ends = sum((report.outcomes for report in reports), start=type(reports[0].outcomes)())
    assert set(ends) == {"succeeded", "dead", "cancelled", "expired"}
    assert sum(report.faults for report in reports) > 5 * len(reports)
    assert ends["succeeded"] > 5 * len(reports)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_seed_decides_everything(seed: int) -> None:
    first, second = simulate(seed, is_traced=True), simulate(seed, is_traced=True)
    assert first.lines == second.lines
    assert len(first.lines) > 50


def test_the_trace_of_a_seed_can_be_read() -> None:
    command = [sys.executable, "-m", "tests.sim", "--seed", "7", "--trace"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "faults are over" in run.stdout
    assert "0 with violations" in run.stdout
