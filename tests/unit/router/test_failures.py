"""What failures cost: the time they take as often as they happen; and how an agent comes back."""

import pytest

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent, RouteRequest, RouteTask
from outrider.router.config import RouterSettings
from outrider.router.failures import LONGEST_REST_S, PROBE_FOR_S, Failures
from outrider.router.routing import route
from outrider.router.statistics import Attempt, Statistics
from tests.unit.router.test_routing import PREDICTOR

FACTS = TaskFacts(100, 60, 1, 0)
SETTINGS = RouterSettings(explore_rate=0.0)


class Fleet:
    """Agents with the same service time, and tasks that end as told, on a clock of their own."""

    def __init__(self, *names: str, service_s: float = 1.0) -> None:
        self.statistics, self.now, self._number = Statistics(), 1000.0, 0
        self.names, self.service_s = names, service_s
        for name in names * 20:
            self.end(name, True)

    def begin(self, name: str) -> Attempt:
        self._number += 1
        attempt = Attempt(f"s{self._number}", name, "chat", FACTS, 4, 0, None, 1, self.now)
        self.statistics.began(attempt)
        return attempt

    def end(self, name: str, succeeds: bool, seconds: float | None = None) -> None:
        attempt = self.begin(name)
        seconds = self.service_s if seconds is None else seconds
        self.now += seconds
        self.statistics.forgotten(attempt.task_id)
        if succeeds:
            self.statistics.succeeded(attempt, seconds, self.now)
        else:
            self.statistics.failed(attempt, self.now)

    def chosen(self, tasks: int = 1, slots: int = 4, **busy: int) -> list[str]:
        agents = tuple(RouteAgent(name, slots, busy.get(name, 0)) for name in self.names)
        asked = tuple(RouteTask(f"t{number}", "chat", 5, 1, FACTS) for number in range(tasks))
        answer = route(RouteRequest(asked, agents), self.statistics, PREDICTOR, SETTINGS, self.now)
        return [choice.agent_id for choice in answer.choices]


@pytest.mark.parametrize("busy", [0, 3])
def test_an_agent_that_hangs_costs_what_its_hangs_take(busy: int) -> None:
    fleet = Fleet("hangs", "slower", service_s=1.0)
    for number in range(30):
        fleet.end("slower", True, 2.0)
        fleet.end("hangs", number % 10 != 0, 60.0 if number % 10 == 0 else 1.0)
    assert fleet.chosen(hangs=busy, slower=busy) == ["slower"]


def test_refusals_at_once_cost_little_more_than_the_second_try() -> None:
    failures = {name: Failures() for name in ("refuses", "hangs")}
    for at in range(10):
        failures["refuses"].failed(at, 0.1)
        failures["hangs"].failed(at, 60.0)
    assert failures["refuses"].lost_s == pytest.approx(0.1)
    assert failures["hangs"].lost_s == pytest.approx(60.0)


def test_an_agent_that_failed_is_tried_again_by_one_task_at_a_time() -> None:
    fleet = Fleet("fast", "slow")
    for _ in range(40):
        fleet.end("slow", True, 5.0)
    for _ in range(3):
        fleet.end("fast", False, 0.1)
    fleet.now += 120.0
    assert sorted(fleet.chosen(tasks=4)) == ["fast", "slow", "slow", "slow"]
    assert fleet.chosen(fast=1) == ["slow"]
    fleet.end("fast", True)
    assert "fast" in fleet.chosen(fast=1)


def test_what_fails_at_once_is_probed_less_and_less_often() -> None:
    """A task that is sent there is lost time for its client, however short it is."""
    fleet = Fleet("refuses", "works")
    for _ in range(40):
        fleet.end("works", True, 5.0)
    probes = 0
    for _ in range(300):
        if fleet.chosen() == ["refuses"]:
            probes += 1
            fleet.end("refuses", False, 0.01)
        fleet.now += 0.1
    assert 3 <= probes <= 8
    fleet.now += LONGEST_REST_S
    assert fleet.chosen() == ["refuses"], "and it may come back"


def test_a_clock_that_is_behind_lets_nobody_rest_for_long() -> None:
    failures = Failures()
    for at in range(5):
        failures.failed(10_000.0 + at, 0.1)
    assert failures.is_resting(10_004.5)
    assert not failures.is_resting(6_000.0)


def test_a_burst_leaves_an_agent_alone_that_rests() -> None:
    fleet = Fleet("rests", "works")
    for _ in range(40):
        fleet.end("works", True, 5.0)
    for _ in range(4):
        fleet.end("rests", False, 0.01)
    assert fleet.chosen(tasks=3) == ["works"] * 3
    fleet.now += LONGEST_REST_S
    assert sorted(fleet.chosen(tasks=3)) == ["rests", "works", "works"]


def test_an_agent_that_only_failed_gets_work_when_there_is_no_other() -> None:
    fleet = Fleet("only")
    for _ in range(5):
        fleet.end("only", False, 0.1)
    assert fleet.chosen(tasks=3) == ["only"] * 3


def test_what_fails_together_is_one_try() -> None:
    """An agent that dies takes all its attempts along: when it is back it is no suspect."""
    failures = Failures()
    for _ in range(20):
        failures.failed(600.0, 300.0)
    assert not failures.is_probed(600.0)
    failures.failed(700.0, 90.0)
    assert failures.is_probed(700.0)


def test_failures_are_forgotten_in_the_end() -> None:
    failures = Failures()
    for at in range(10):
        failures.failed(float(at), 1.0)
    assert failures.share(10.0) > 0.8
    assert failures.is_probed(10.0)
    assert failures.share(10.0 + 86_400.0) < 0.01
    assert not failures.is_probed(10.0 + PROBE_FOR_S)
