"""When a model is trained, when it is promoted, and what a rollback goes back to: pure rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outrider.broker.errors import DecodeError, Refused
from outrider.router.decisions import (
    Decision,
    Outcome,
    Trigger,
    is_held,
    last_training,
    read,
    served_before,
    written,
)
from outrider.router.promotion import judged
from outrider.router.retraining import LiveErrors, Schedule, due

NAN = float("nan")
RIVALS = {"average": 0.5, "table_drift": 0.4, "serving": 0.3}


def test_a_model_that_beats_every_rival_is_promoted_with_the_figures() -> None:
    verdict = judged(0.2, RIVALS, 80)
    assert verdict.promoted
    assert all(figure in verdict.why for figure in ("0.2000", "0.5000", "0.4000", "0.3000", "80"))


@pytest.mark.parametrize(
    ("error", "rivals", "named"),
    [
        (0.3, RIVALS, "the model that serves"),
        (0.2975, RIVALS, "the model that serves"),
        (
            0.45,
            {"average": 0.5, "table_drift": 0.4, "serving": 0.9},
            "the table per agent and kind with drift",
        ),
        (0.45, {"average": 0.4, "table_drift": 0.9, "serving": None}, "the average per agent and kind"),
        (NAN, RIVALS, "the model that serves"),
        (0.2, {"average": NAN, "serving": None}, "the average"),
        (0.0, {"average": 0.0}, ""),
        (0.1, {}, "anything"),
    ],
)
def test_a_model_that_loses_to_one_rival_is_refused_and_the_rival_named(
    error: float, rivals: dict[str, float | None], named: str
) -> None:
    verdict = judged(error, rivals, 80)
    if error == 0.0:
        assert verdict.promoted, "no error at all loses to nobody"
        return
    assert not verdict.promoted
    assert verdict.why.startswith("not better than")
    assert named in verdict.why


def test_a_rival_that_cannot_be_judged_does_not_keep_a_model_out() -> None:
    assert judged(0.2, {"average": 0.5, "serving": None}, 10).promoted


SCHEDULE = Schedule(every_s=3600.0, drift=1.5, gap_s=60.0, fewest_rows=100)


def live(count: int, error: float | None, since: float = 1000.0, at: float = 1001.0) -> LiveErrors:
    errors = LiveErrors()
    errors.trained(since)
    for _ in range(count):
        errors.note(at, error)
    return errors


def test_a_training_is_due_when_the_last_one_is_old_enough_and_there_are_new_rows() -> None:
    assert due(SCHEDULE, live(100, 0.1), 0.4, 1000.0, 1000.0 + 3599) is None
    found = due(SCHEDULE, live(100, 0.1), 0.4, 1000.0, 1000.0 + 3600)
    assert found is not None
    assert found[0] is Trigger.SCHEDULE
    assert due(SCHEDULE, live(99, 0.1), 0.4, 1000.0, 1e9) is None, "the same rows make the same model"


def test_drift_makes_a_training_due_after_the_gap() -> None:
    assert due(SCHEDULE, live(100, 0.59), 0.4, 1000.0, 2000.0) is None
    assert due(SCHEDULE, live(100, 0.61), 0.4, 1000.0, 1059.0) is None
    found = due(SCHEDULE, live(100, 0.61), 0.4, 1000.0, 1061.0)
    assert found is not None
    assert found[0] is Trigger.DRIFT
    assert "0.610" in found[1]
    assert due(SCHEDULE, live(100, 0.61), None, 1000.0, 1061.0) is not None, "without a figure the usual one"
    assert due(SCHEDULE, live(100, None), 0.4, 1000.0, 1061.0) is None, "nothing was predicted"


def test_each_trigger_can_be_turned_off() -> None:
    never = replace(SCHEDULE, every_s=0.0, drift=0.0)
    assert due(never, live(1000, 9.0), 0.4, 1000.0, 1e9) is None
    by_clock = replace(SCHEDULE, drift=0.0)
    assert due(by_clock, live(1000, 9.0), 0.4, 1000.0, 2000.0) is None


def test_only_what_ended_after_the_training_counts() -> None:
    errors = live(200, 2.0, since=0.0, at=500.0)
    assert errors.fresh == 200
    errors.trained(600.0)
    assert (errors.fresh, errors.mean()) == (0, None)
    errors.note(601.0, 0.25)
    assert (errors.fresh, errors.mean()) == (1, 0.25)
    errors.trained(400.0)
    assert errors.fresh == 1, "an older training changes nothing"


def promoted(version: str, trigger: Trigger = Trigger.ASKED) -> Decision:
    return Decision(Outcome.PROMOTED, version, version, "better", trigger)


def rolled_back(version: str) -> Decision:
    return Decision(Outcome.ROLLED_BACK, version, version)


def refused(serves: str, trigger: Trigger = Trigger.ASKED) -> Decision:
    return Decision(Outcome.REFUSED, serves, "m9", "not better", trigger)


@pytest.mark.parametrize(
    ("decisions", "before"),
    [
        ([promoted("m1")], ""),
        ([promoted("m1"), promoted("m2")], "m1"),
        ([promoted("m1"), promoted("m2"), refused("m2")], "m1"),
        ([promoted("m1"), promoted("m2"), rolled_back("m1")], ""),
        ([promoted("m1"), promoted("m2"), rolled_back("m1"), promoted("m3")], "m1"),
        ([promoted("m1"), promoted("m2"), rolled_back("m1"), rolled_back("m2")], "m1"),
        ([promoted("m1"), promoted("m2"), promoted("m3"), rolled_back("m1")], ""),
    ],
)
def test_a_rollback_goes_to_what_served_before(decisions: list[Decision], before: str) -> None:
    assert served_before(decisions) == before


@pytest.mark.parametrize("decisions", [[], [refused("")], [promoted("m1"), rolled_back("")]])
def test_behind_the_shipped_model_there_is_nothing(decisions: list[Decision]) -> None:
    with pytest.raises(Refused, match="nothing to go back to"):
        served_before(decisions)


def test_after_a_rollback_only_a_training_by_hand_lets_the_automatic_go_on() -> None:
    held = [promoted("m1"), rolled_back("")]
    assert is_held(held)
    assert is_held([*held, refused("", Trigger.SCHEDULE)])
    assert not is_held([*held, refused("")])
    assert not is_held([promoted("m1", Trigger.DRIFT)])
    assert last_training(held) == held[0]


def test_the_error_that_was_judged_is_that_of_what_serves() -> None:
    metrics = {"model": {"mae_log": 0.2}, "serving": {"mae_log": 0.3}}
    assert replace(promoted("m1"), metrics=metrics).error_judged() == 0.2
    assert replace(refused("m0"), metrics=metrics).error_judged() == 0.3
    for odd in ({}, {"model": None}, {"model": {"mae_log": "x"}}, {"model": {"mae_log": NAN}}):
        assert replace(promoted("m1"), metrics=odd).error_judged() is None


def test_a_decision_comes_back_as_it_was_written() -> None:
    decision = replace(promoted("m1"), metrics={"model": {"mae_log": 0.2}}, rows=300, by="host-1", key="A")
    assert read(written(decision), 7, 12.5) == replace(decision, seq=7, at=12.5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"outcome": "crowned"}',
        b'{"outcome": "promoted", "serves": "../../etc"}',
        b'{"outcome": "promoted", "serves": 5}',
        b'{"outcome": "promoted", "metrics": []}',
        b"\xc1\xff",
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data, 1, 0.0)
