"""When a second attempt is worth it: the quantile and the budget, as numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.broker.hedge_rule import MOST_TOKENS, HedgeBudget, p95_s


def test_the_95th_percentile_of_a_log_normal_time() -> None:
    # exp(1.2816 s) times the median is the 90th percentile: with s = 1 the 95th is exp(1.6449).
    assert p95_s(1.0, math.exp(1.2816)) == pytest.approx(math.exp(1.6449), rel=1e-4)
    assert p95_s(2.0, 2.0) == 2.0
    assert p95_s(0.0, 3.0) > 3.0


@settings(deadline=None)
@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_it_is_never_below_the_90th(p50_s: float, spread: float) -> None:
    assert p95_s(p50_s, p50_s + spread) >= p50_s + spread


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=200), st.sampled_from((0.01, 0.05, 0.5, 1.0)))
def test_never_more_than_one_and_its_share_of_all_assignments(steps: list[int], share: float) -> None:
    budget, assignments, spent = HedgeBudget(), 0, 0
    for more in steps:
        assignments += more
        if budget.has_one(assignments, share):
            budget.spend()
            spent += 1
        assert spent <= 1 + share * assignments + 1e-9


def test_savings_are_bounded_so_that_old_assignments_do_not_count_for_ever() -> None:
    budget = HedgeBudget()
    granted = 0
    while budget.has_one(1_000_000, 0.05):
        budget.spend()
        granted += 1
    assert granted == MOST_TOKENS


def test_what_is_asked_for_is_as_good_as_spent() -> None:
    budget = HedgeBudget(tokens=2.5)
    budget.asked[1] = "t1"
    assert budget.has_one(0, 0.05)
    budget.asked[2] = "t2"
    assert not budget.has_one(0, 0.05)


def test_no_share_is_no_second_attempt() -> None:
    assert not HedgeBudget().has_one(1000, 0.0)
