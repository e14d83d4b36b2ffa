"""What `outrider router replay` prints, and which `--since` it takes."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.cli.exit_codes import UsageError
from outrider.cli.main import build_parser
from outrider.cli.replay_command import _for_people, _signed

FOUND = {
    "decisions": 3,
    "judged_share": 0.0,
    "matched_share": 0.0,
    "modelled_share": 0.0,
    "unjudged": {},
    "is_whole": True,
    "change": None,
}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"policy": "random", "model": None, "model_version": None}, "policy random"),
        ({"policy": None, "model": "serving", "model_version": "ledger-5-1"}, "model ledger-5-1 (serving)"),
        ({"policy": None, "model": "ledger-5-1", "model_version": "ledger-5-1"}, "model ledger-5-1"),
    ],
)
def test_what_was_judged_is_told_first(asked: dict[str, Any], told: str) -> None:
    assert _for_people(FOUND | asked).splitlines()[0] == f"against {told}"


@pytest.mark.parametrize(
    ("value", "shown"), [(-0.0001, "0 ms"), (-0.0, "0 ms"), (0.0, "0 ms"), (-0.02, "-20 ms"), (1.5, "+1.5 s")]
)
def test_a_change_of_nothing_has_no_sign(value: float, shown: str) -> None:
    assert _signed(value) == shown


@pytest.mark.parametrize("since", [("--since", "-5h"), ("--since=-5h",), ("--since", "0"), ("--since", "-5")])
def test_a_time_that_is_not_above_0_is_told(since: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"--since: \S+ is not above 0; give a duration such as"):
        build_parser().parse_args(["router", "replay", "--policy", "random", *since])
