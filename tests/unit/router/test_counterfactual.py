"""Replays on made-up ledgers: the estimate finds the truth, and says what it cannot judge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import Candidate
from outrider.router.counterfactual.decisions import Ask, Decision
from outrider.router.counterfactual.estimate import FIGURES, estimate
from outrider.router.counterfactual.policies import POLICIES, UnknownPolicy, choice_of, policy_named
from outrider.router.statistics import Attempt, Statistics
from tests.unit.router.fleets import shipped_predictor
from tests.unit.router.made_ledgers import Logged, MadeLedger, by_dice, by_size

SEEDS = 40


def always(agent_id: str) -> Ask:
    return lambda _decision, _statistics: {agent_id: 1.0}


@pytest.mark.parametrize(("logged", "model"), [(by_size, ""), (by_dice, "random"), (by_dice, "")])
def test_the_recorded_policy_changes_exactly_nothing(logged: Logged, model: str) -> None:
    report = estimate(MadeLedger(1, logged, model).decisions(policy_named("recorded")))
    assert all(report["change"][name] == {"estimate": 0.0, "low": 0.0, "high": 0.0} for name in FIGURES)
    assert (report["matched_share"], report["modelled_share"], report["method"]) == (1.0, 0.0, "matched")
    assert report["recorded"] == report["replayed"]


def test_the_same_dice_again_are_the_recorded_policy() -> None:
    report = estimate(MadeLedger(2, by_dice, "random").decisions(policy_named("random")))
    assert report["change"]["mean_s"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize(
    ("wanted", "logged", "model", "drift", "method"),
    [
        ("c", by_dice, "random", 0.0, "doubly_robust"),
        ("a", by_size, "", 0.0, "direct"),
        ("b", by_size, "", 0.8, "direct"),
    ],
)
def test_the_interval_covers_the_truth_in_about_the_share_it_states(
    wanted: str, logged: Logged, model: str, drift: float, method: str
) -> None:
    truths, found = [], []
    for seed in range(SEEDS):
        ledger = MadeLedger(seed, logged, model, tasks=300, drift=drift)
        decisions = ledger.decisions(always(wanted))
        report = estimate(decisions, replicates=60)
        assert (report["method"], report["judged_share"]) == (method, 1.0)
        truths.append(ledger.change_s(decisions))
        found.append(report["change"]["mean_s"])
    truth = float(np.mean(truths))
    assert abs(truth) > 0.2
    covered = sum(change["low"] <= truth <= change["high"] for change in found) / SEEDS
    assert 0.85 <= covered <= 1.0
    assert np.mean([change["estimate"] for change in found]) == pytest.approx(truth, abs=0.1)


def test_quantiles_of_a_slower_agent_are_found() -> None:
    ledger = MadeLedger(5, by_dice, "random", tasks=1500)
    report = estimate(ledger.decisions(always("c")), replicates=40)
    drawn = np.array([0.5 + seconds["c"] for seconds in ledger.seconds])
    for name, quantile in (("p95_s", 95), ("p99_s", 99)):
        assert report["replayed"][name] == pytest.approx(np.percentile(drawn, quantile), rel=0.25)
    assert report["model_over_recorded"] == pytest.approx(1.0, abs=0.1)


def test_what_cannot_be_judged_is_left_out_and_counted() -> None:
    decisions = MadeLedger(3, by_dice, tasks=200, pace={"a": 0.0, "b": 0.4}).decisions(always("a"))
    for decision in decisions[:20]:
        decision.finish_s = None
    for decision in decisions[20:30]:
        decision.wants = None
    for decision in decisions[30:80]:
        decision.wants = {"stranger": 1.0}
    report = estimate(decisions)
    assert report["unjudged"] == {"little_known": 0.25, "no_candidates": 0.05, "no_success": 0.1}
    assert report["judged_share"] == 0.6
    assert report["matched_share"] + report["modelled_share"] == pytest.approx(0.6)


def test_a_handful_of_decisions_gives_no_figures() -> None:
    report = estimate(MadeLedger(3, by_size, tasks=10).decisions(policy_named("recorded")))
    assert (report["decisions"], report["change"]) == (10, None)
    assert estimate([])["judged_share"] == 0.0


def one_decision(load: dict[str, int], slots: dict[str, int], finish: dict[str, float]) -> Decision:
    candidates = tuple(Candidate(agent, 0.0, s, s, s) for agent, s in finish.items())
    chosen = next(iter(load))
    return Decision("t", 1, "chat", 5, 9.0, chosen, "m", TaskFacts(), 0.0, candidates, load, slots)


def test_policies_choose_as_they_are_called() -> None:
    decision = one_decision(
        {"a": 2, "b": 0, "c": 0}, {"a": 8, "b": 1, "c": 1}, {"a": 1.0, "b": 2.0, "c": 3.0}
    )
    asked = {name: ask(decision, Statistics()) for name, ask in POLICIES.items()}
    assert asked["recorded"] == asked["predicted_finish"] == asked["predicted_service"] == {"a": 1.0}
    assert asked["least_outstanding"] == {"b": 0.5, "c": 0.5}
    assert asked["least_outstanding_per_slot"] == {"a": 1.0}
    assert asked["power_of_two"] == pytest.approx({"a": 0.0, "b": 0.5, "c": 0.5})
    assert asked["random"] == pytest.approx(dict.fromkeys("abc", 1 / 3))
    assert all(math.isclose(sum((wants or {}).values()), 1.0) for wants in asked.values())


def test_the_moving_average_times_the_load_is_learned_from_what_came_before() -> None:
    statistics = Statistics()
    for number, (agent, seconds) in enumerate([("a", 9.0), ("b", 1.0)] * 5):
        attempt = Attempt(f"t{number}", agent, "chat", TaskFacts(), 1, 0, None, 1, 0.0)
        statistics.succeeded(attempt, seconds, 1.0)
    decision = one_decision({"a": 0, "b": 0}, {"a": 1, "b": 1}, {"a": 1.0, "b": 1.0})
    assert POLICIES["peak_ewma"](decision, statistics) == {"b": 1.0}
    busy = replace(decision, load={"a": 0, "b": 30}, slots={"a": 1, "b": 31})
    assert POLICIES["peak_ewma"](busy, statistics) == {"b": 1.0}
    assert choice_of(shipped_predictor())(decision, statistics) == {"b": 1.0}


def test_a_policy_that_is_not_known_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownPolicy) as raised:
        policy_named("best")
    assert "least_outstanding" in raised.value.hint
