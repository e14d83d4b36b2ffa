"""What is said of a deadline in doubt."""

from __future__ import annotations

import pytest

from outrider.broker.estimates import CanMeet, Estimate, EstimateBasis


@pytest.mark.parametrize(
    ("deadline_s", "p50_s", "p90_s", "told"),
    [
        (0.005, 0.102, 0.25, "deadline of 5 ms cannot be met: predicted finish p50 102 ms, p90 250 ms"),
        (2.51, 2.54, 14.0, "deadline of 2.51 s cannot be met: predicted finish p50 2.54 s, p90 14 s"),
        (0.9999, 999.7, 86400.0, "deadline of 1 s cannot be met: predicted finish p50 1000 s, p90 86400 s"),
    ],
)
def test_deadline_and_finish_are_told_alike(deadline_s: float, p50_s: float, p90_s: float, told: str) -> None:
    found = Estimate(
        "chat", 5, EstimateBasis.ROUTER, p50_s, p90_s, can_meet=CanMeet.NO, deadline_s=deadline_s
    )
    assert found.about_deadline() == f"the {told}"
