"""`outrider router models|rollback|key|train` beside a running fleet."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.cli.command import Said

Run = Callable[..., Said]


def test_a_fleet_without_models_says_so(run: Run) -> None:
    said = run("router", "rollback")
    assert said.code == 4
    assert "the shipped one serves" in said.err
    for form in ((), ("--json",)):
        said = run("router", "key", *form)
        assert said.code == 1, "an empty key is no key to export"
        assert "outrider router train" in said.out + said.err
    assert said.document["error"]["code"] == "model_key"


def test_each_decision_is_kept_and_shown(run: Run) -> None:
    trained = run("router", "train", "--json")
    assert trained.code == 0
    assert not trained.document["promoted"]
    listed = run("router", "models", "ls", "--json").document
    assert listed["serves"] == "shipped"
    assert "too few" in listed["decisions"][-1]["why"]
    shown = run("router", "models")
    assert "too few" in shown.out
    assert f"shipped ({listed['shipped']}) serves" in shown.err
    assert listed["shipped"] == run("router", "show", "--json").document["version"]


def test_what_is_wrong_is_said(run: Run) -> None:
    for command in (("rollback", "ledger-1-0"), ("replay", "--model", "ledger-1-0")):
        said = run("router", *command, "--json")
        assert said.code != 0
        error = said.document["error"]
        assert error["code"] == "model_refused"
        assert error["message"] == "no such version: ledger-1-0; known: shipped"
        assert "outrider router models" in error["hint"]
