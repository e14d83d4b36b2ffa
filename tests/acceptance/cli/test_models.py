"""`outrider router models|rollback|key|train` beside a running fleet."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.cli.command import Said

Run = Callable[..., Said]


def test_a_fleet_without_models_says_so(run: Run) -> None:
    said = run("router", "rollback")
    assert said.code == 4
    assert "the shipped one serves" in said.err
    assert run("router", "key", "--json").document == {"key": None}


def test_each_decision_is_kept_and_shown(run: Run) -> None:
    trained = run("router", "train", "--json")
    assert trained.code == 0
    assert not trained.document["promoted"]
    listed = run("router", "models", "ls", "--json").document
    assert listed["serves"] == "shipped"
    assert "too few" in listed["decisions"][-1]["why"]
    shown = run("router", "models")
    assert "too few" in shown.out
    assert "shipped serves" in shown.err


def test_what_is_wrong_is_said(run: Run) -> None:
    said = run("router", "rollback", "ledger-1-0", "--json")
    assert said.code != 0
    assert said.document["error"]["code"] == "model_refused"
