"""When running attempts end: elapsed time is no progress by itself."""

import pytest

from outrider.router.underway import residual_s, slot_waits, soonest


def test_an_attempt_just_begun_takes_its_mean_which_is_above_its_median() -> None:
    assert residual_s(2.0, 0.5, 0.0) == pytest.approx(2.0 * 1.133, rel=0.01)


def test_one_that_runs_for_long_is_expected_to_run_for_longer_still() -> None:
    soon, late, very_late = (residual_s(2.0, 0.5, age) for age in (1.0, 10.0, 100.0))
    assert 0.5 < soon < 2.0
    assert late > soon
    assert very_late > late


def test_one_far_beyond_all_expectation_probably_hangs_and_takes_as_long_again() -> None:
    assert residual_s(2.0, 0.4, 40.0) == pytest.approx(40.0, rel=0.1)
    assert residual_s(2.0, 0.4, 3.0) < 2.0


@pytest.mark.parametrize("spread", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("age_s", [0.0, 1e-6, 3.0, 1e6])
@pytest.mark.parametrize("p50_s", [0.0, 1e-6, 2.0, 1e6])
def test_no_absurd_numbers(p50_s: float, spread: float, age_s: float) -> None:
    assert 0.0 <= residual_s(p50_s, spread, age_s) <= 86_400.0


def test_the_first_of_several_ends_sooner_than_each_alone() -> None:
    assert soonest([]) == []
    assert soonest([3.0]) == [3.0]
    first, second = soonest([3.0, 3.0])
    assert first < second == 3.0


def test_who_waits_behind_others_waits_for_their_service_too() -> None:
    assert slot_waits([1.0, 5.0], 2, 0, 3, 2.0) == [1.0, 3.0, 5.0]
    assert slot_waits([1.0, 5.0], 2, 1, 2, 2.0) == [3.0, 5.0]
    assert slot_waits([], 1, 0, 1, 2.0) == [2.0]
