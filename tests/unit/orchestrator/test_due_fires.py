"""A cron schedule's fires count once each, in whatever order they are handled."""

from __future__ import annotations

from itertools import permutations

import pytest

from outrider.orchestrator.due import Fire, repeated

AT_NINE = Fire(10, 100.0, 160.0)
AT_NINE_AGAIN = Fire(11, 103.0, 160.0)
"""The server was killed after the first and fired again when it was back."""
AND_AGAIN = Fire(12, 159.7, 160.0)
"""And once more, just before its next time."""
AT_TEN = Fire(20, 160.2, 220.0)
AT_ELEVEN = Fire(30, 220.1, 280.0)


def counted(fires: tuple[Fire, ...]) -> list[Fire]:
    known: list[Fire] = []
    for fire in fires:
        if not repeated(fire, known):
            known.append(fire)
    return known


@pytest.mark.parametrize("order", list(permutations((AT_NINE, AT_NINE_AGAIN, AND_AGAIN, AT_TEN, AT_ELEVEN))))
def test_each_time_counts_once_in_any_order(order: tuple[Fire, ...]) -> None:
    found = counted(order)
    assert len(found) == 3
    assert AT_TEN in found
    assert AT_ELEVEN in found


def test_a_fire_that_is_handled_after_the_next_one_is_not_lost() -> None:
    assert not repeated(AT_NINE, [AT_TEN])


def test_fires_without_an_announcement_all_count() -> None:
    assert not repeated(Fire(11, 101.0, 0.0), [Fire(10, 100.0, 0.0)])
