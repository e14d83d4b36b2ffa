"""The arithmetic of estimates: who waits how long behind how many, and how sure that is."""

from __future__ import annotations

import pytest

from outrider.broker.estimates import CanMeet, Estimate, EstimateBasis, EstimateRequest, can_meet
from outrider.broker.routing import Candidate
from outrider.orchestrator import estimating
from outrider.orchestrator.estimating import Forecast, Place, beyond, left_s, start_after
from tests.unit.orchestrator.drive import Drive

ECHO = EstimateRequest("echo", deadline_s=10.0)


def forecast(**p50_of: float) -> Forecast:
    found = [Candidate(name, 0.0, p50_s, p50_s * 1.5, p50_s) for name, p50_s in p50_of.items()]
    return Forecast(tuple(found), EstimateBasis.ROUTER, "m1")


def estimated(drive: Drive, ahead: int, said: Forecast, request: EstimateRequest = ECHO) -> Estimate:
    memory = drive.core.memory
    return estimating.estimate(memory, request, estimating.able(memory, request), ahead, said)


def test_a_free_place_starts_at_once() -> None:
    assert start_after(0, [Place(0.0, 5.0), Place(3.0, 1.0)]) == 0.0


@pytest.mark.parametrize(
    ("ahead", "start_s"), [(0, 0.0), (3, 0.0), (4, 2.0), (7, 2.0), (8, 4.0), (400, 200.0)]
)
def test_equal_places_work_in_waves(ahead: int, start_s: float) -> None:
    assert start_after(ahead, [Place(0.0, 2.0, 4)]) == pytest.approx(start_s, abs=1e-6)


def test_unequal_places_take_what_they_can() -> None:
    # starts at 0 (fast), 0 (slow), 1, 2, 3, ... (fast) and 10 (slow)
    places = [Place(0.0, 1.0), Place(0.0, 10.0)]
    assert [start_after(n, places) for n in (1, 2, 10, 11, 12)] == pytest.approx([0, 1, 9, 10, 10], abs=1e-6)


def test_a_place_that_is_taken_counts_from_when_it_gets_free() -> None:
    assert start_after(0, [Place(1.5, 2.0)]) == 1.5
    assert start_after(1, [Place(1.5, 2.0)]) == pytest.approx(3.5, abs=1e-6)


def test_what_runs_for_long_takes_longer_still() -> None:
    assert left_s(2.0, 3.0, 0.5) == 1.5
    assert left_s(2.0, 3.0, 2.0) == 0.5
    assert left_s(2.0, 3.0, 10.0) == 4.0


def test_doubts_of_many_average_out_but_a_long_wait_stays_doubtful() -> None:
    assert beyond(1.0, 0, 4, 0.0) == 1.0
    assert beyond(1.0, 16, 4, 0.0) == pytest.approx(2.0**0.5)
    assert beyond(0.0, 16, 4, 10.0) == pytest.approx(2.0)


def test_an_idle_fleet_promises_the_best_candidate() -> None:
    drive = Drive()
    drive.join("fast", slots=2)
    drive.join("slow", slots=2)
    found = estimated(drive, 0, forecast(fast=2.0, slow=4.0))
    assert (found.p50_s, found.p90_s, found.waiting_s, found.agent) == (2.0, 3.0, 0.0, "fast")
    assert (found.basis, found.model, found.agents, found.slots) == (EstimateBasis.ROUTER, "m1", 2, 4)
    assert found.can_meet is CanMeet.YES


def test_behind_a_queue_it_waits_for_all_slots_together() -> None:
    drive = Drive()
    drive.join("a", slots=2)
    drive.join("b", slots=2)
    found = estimated(drive, 8, forecast(a=2.0, b=2.0))
    assert found.waiting_s == pytest.approx(4.0, abs=1e-6)
    assert found.p50_s == pytest.approx(6.0, abs=1e-6)
    assert found.p90_s is not None
    assert 7.0 < found.p90_s < 8.0


def test_behind_a_queue_the_task_may_get_the_slow_agent() -> None:
    drive = Drive()
    drive.join("fast")
    drive.join("slow")
    found = estimated(drive, 8, forecast(fast=1.0, slow=4.0))
    assert found.service_s == pytest.approx(1.6)  # four of five tasks run on the fast one
    assert found.p50_s is not None
    assert found.p90_s is not None
    assert found.p90_s - found.p50_s > 6.0 - 1.6  # one in five does not


def test_what_runs_on_an_agent_is_waited_for() -> None:
    drive = Drive()
    drive.join("a")
    drive.pull("t1")
    drive.choose("t1", "a")
    drive.store()
    drive.now += 0.2
    found = estimated(drive, 0, forecast(a=3.0))
    assert found.waiting_s == pytest.approx(0.5)  # the p50 of what runs, and it has not said yet that it runs


def test_averages_of_the_agents_count_for_those_ahead() -> None:
    drive = Drive()
    drive.join("a")
    agent = drive.core.memory.agents.get("a")
    assert agent is not None
    agent.observe("echo", 5.0)
    found = estimated(drive, 2, forecast(a=1.0))
    assert found.waiting_s == pytest.approx(10.0, abs=1e-6)
    assert found.service_s == 1.0
    assert found.can_meet is CanMeet.NO
    assert "cannot be met" in str(found.about_deadline())


def test_without_a_router_averages_are_used_and_without_any_it_is_a_guess() -> None:
    drive = Drive()
    drive.join("a", slots=2)
    drive.join("b")
    agents = estimating.able(drive.core.memory, ECHO)
    offered = estimating.offered(agents, 0, "echo", 10)
    assert estimating.by_averages(offered, "echo").basis is EstimateBasis.GUESS
    agents[0].observe("echo", 3.0)
    said = estimating.by_averages(estimating.offered(agents, 0, "echo", 10), "echo")
    assert (said.basis, said.candidates[0].p50_s) == (EstimateBasis.AVERAGES, 3.0)


def test_full_agents_are_asked_about_as_they_are_when_a_slot_gets_free() -> None:
    drive = Drive()
    drive.join("a", slots=3)
    agents = estimating.able(drive.core.memory, ECHO)
    assert [a.in_flight for a in estimating.offered(agents, 2, "echo", 10)] == [0]
    assert [a.in_flight for a in estimating.offered(agents, 3, "echo", 10)] == [2]


def test_nobody_who_could_is_no_number_and_a_reason() -> None:
    drive = Drive()
    drive.join("a", labels=("cpu",))
    found = estimated(drive, 3, forecast(a=1.0), EstimateRequest("echo", deadline_s=1.0, requires=("gpu",)))
    assert (found.p50_s, found.p90_s, found.can_meet) == (None, None, CanMeet.UNKNOWN)
    assert found.warning == "no agent for kind 'echo' is online"
    assert "nobody can tell" in str(found.about_deadline())


def test_a_deadline_is_met_unlikely_or_not() -> None:
    assert [can_meet(d, 2.0, 3.0) for d in (3.0, 2.5, 1.9)] == [CanMeet.YES, CanMeet.UNLIKELY, CanMeet.NO]


def test_an_estimate_changes_nothing() -> None:
    drive = Drive()
    drive.join("a")
    before = repr(drive.core.memory)
    estimated(drive, 5, forecast(a=1.0))
    assert repr(drive.core.memory) == before
