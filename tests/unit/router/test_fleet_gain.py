"""What routing by prediction is worth on a mixed fleet, in virtual time, with the product's own code."""

import pytest

from outrider.broker.routing import RouteReason
from tests.unit.router.fleets import RoutedFleet, shuffled_pace


@pytest.mark.parametrize("load", [0.2, 0.3, 0.4])
def test_random_choice_instead_of_the_router_raises_mean_sojourn_by_a_quarter(load: float) -> None:
    ours = RoutedFleet("model", load=load).mean_sojourn_s()
    random = RoutedFleet("random", load=load).mean_sojourn_s()
    assert random >= 1.25 * ours, f"random {random:.2f} s, ours {ours:.2f} s"


def test_durations_dealt_out_anew_for_each_task_leave_no_gain() -> None:
    ours = sum(RoutedFleet("model", shuffled_pace, seed=s).mean_sojourn_s() for s in range(10))
    random = sum(RoutedFleet("random", shuffled_pace, seed=s).mean_sojourn_s() for s in range(10))
    assert ours == pytest.approx(random, rel=0.08), "the router must not know what nobody can know"


def test_predictions_are_calibrated_once_the_agents_are_known() -> None:
    late = RoutedFleet("model", tasks=1200).run()[300:]
    under_p50 = sum(ended.service_s <= ended.p50_s for ended in late) / len(late)
    under_p90 = sum(ended.service_s <= ended.p90_s for ended in late) / len(late)
    assert 0.35 <= under_p50 <= 0.65
    assert 0.82 <= under_p90 <= 0.98


def test_a_known_fleet_is_routed_by_the_model_and_explored_within_the_budget() -> None:
    fleet = RoutedFleet("model")
    fleet.run()
    reasons = [choice.reason for answer in fleet.answers for choice in answer.choices]
    assert reasons[0] is RouteReason.COLD
    assert reasons.count(RouteReason.MODEL) > 0.5 * len(reasons)
    assert reasons.count(RouteReason.EXPLORE) <= 0.08 * len(reasons)


def test_the_same_tasks_give_the_same_choices() -> None:
    first, second = RoutedFleet("model", tasks=200), RoutedFleet("model", tasks=200)
    first.run()
    second.run()
    assert first.answers == second.answers
    assert first.statistics == second.statistics
