"""What was not seen for long comes into doubt, and an agent in doubt is tried if it may well be faster."""

from collections import Counter

import numpy as np
import pytest

from outrider.broker.routing import Choice, RouteAgent, RouteReason, RouteRequest
from outrider.router.beliefs import NEW_PAIR_DOUBT, doubt_of
from outrider.router.config import RouterSettings
from outrider.router.predictor import benefit_of_doubt
from outrider.router.routing import route
from outrider.router.statistics import Attempt, Statistics
from tests.unit.router.test_routing import FACTS, PREDICTOR, tasks

DAY_S = 86_400.0
HOUR_S = 3_600.0


def works(statistics: Statistics, agent_id: str, service_s: float, at: float, kind: str = "chat") -> None:
    base = statistics.base(agent_id, kind, at)
    attempt = Attempt(f"{agent_id} {at}", agent_id, kind, FACTS, 4, 0, None, 1, at - service_s, None, base)
    statistics.succeeded(attempt, service_s, at)


def two_agents(stale_s: float) -> Statistics:
    """Both known well; `stale` is then idle for an hour while `busy` goes on with a task of a second."""
    statistics = Statistics()
    for second in range(40):
        works(statistics, "busy", 1.0, float(second))
        works(statistics, "stale", stale_s, float(second))
    for second in range(40):
        works(statistics, "busy", 1.0, HOUR_S + second)
    return statistics


def chosen(statistics: Statistics, now: float, explore_rate: float = 0.05) -> Choice:
    request = RouteRequest(tasks(1), (RouteAgent("busy", 4, 0), RouteAgent("stale", 4, 0)))
    return route(request, statistics, PREDICTOR, RouterSettings(explore_rate=explore_rate), now).choices[0]


def test_an_agent_in_doubt_is_tried_until_it_is_known_again() -> None:
    statistics, now = two_agents(1.2), HOUR_S + 41.0
    first = chosen(statistics, now)
    assert (first.agent_id, first.reason) == ("stale", RouteReason.EXPLORE)
    mine, other = first.candidates[1], first.candidates[0]
    assert mine.agent_id == "stale"
    assert mine.finish_s > other.finish_s, "the prediction is not made better than it is"
    tries = 0
    while chosen(statistics, now).agent_id == "stale":
        tries += 1
        works(statistics, "stale", 1.2, now)
        assert tries < 5, "it is known by now"
    assert chosen(statistics, now).reason is RouteReason.MODEL


def test_an_agent_in_doubt_that_became_faster_keeps_the_work() -> None:
    statistics, now = two_agents(1.2), HOUR_S + 41.0
    for number in range(4):
        assert chosen(statistics, now + number).agent_id == "stale"
        works(statistics, "stale", 0.5, now + number)
    assert chosen(statistics, now + 4.0).reason is RouteReason.MODEL


def test_an_agent_that_is_surely_slower_is_not_tried() -> None:
    assert chosen(two_agents(3.0), HOUR_S + 41.0).agent_id == "busy"


def test_nothing_is_tried_where_exploring_is_turned_off() -> None:
    found = chosen(two_agents(1.2), HOUR_S + 41.0, explore_rate=0.0)
    assert (found.agent_id, found.reason) == ("busy", RouteReason.MODEL)


@pytest.mark.parametrize("days", [1.0, 30.0, 365.0])
def test_a_taste_comes_into_doubt_with_the_days_it_was_not_seen(days: float) -> None:
    statistics = two_agents(1.0)
    pair = statistics.pair("stale", "chat")
    later = pair.doubt_now(HOUR_S + days * DAY_S)
    assert pair.doubt < later < NEW_PAIR_DOUBT
    assert pair.doubt_now(HOUR_S + 2 * days * DAY_S) > later


def test_what_is_seen_after_months_is_believed_sooner_than_what_is_odd_today() -> None:
    def taste_after_a_change(pause_s: float) -> float:
        statistics, at = Statistics(), 0.0
        for kind in ("chat", "summarize"):
            for _ in range(60):
                at += 1.0
                works(statistics, "agent", 1.0, at, kind)
        before = statistics.pair("agent", "chat").taste
        works(statistics, "agent", 3.0, at + pause_s, "chat")
        return statistics.pair("agent", "chat").taste - before

    assert taste_after_a_change(90 * DAY_S) > 2.0 * taste_after_a_change(1.0) > 0.0


def test_the_benefit_has_a_bound() -> None:
    unknown, known = Statistics(), two_agents(1.0)
    now = HOUR_S + 40.0
    doubts = [doubt_of(known.agent("stale"), known.pair("stale", "chat"), now)]
    doubts.append(doubt_of(unknown.agent("new"), unknown.pair("new", "chat"), now))
    well, least = benefit_of_doubt(np.array(doubts), np.array([0.1, 0.1]), np.zeros(2)).tolist()
    assert 0.5 < least < well < 1.0


@pytest.mark.parametrize("batched", [True, False])
def test_a_burst_does_not_go_to_an_agent_in_doubt_before_it_has_answered(batched: bool) -> None:
    statistics, now, slots = two_agents(1.2), HOUR_S + 41.0, 64
    in_flight: Counter[str] = Counter()
    for part in [tasks(40)] if batched else [(one,) for one in tasks(40)]:
        agents = tuple(RouteAgent(name, slots, in_flight[name]) for name in ("busy", "stale"))
        request = RouteRequest(part, agents)
        answer = route(request, statistics, PREDICTOR, RouterSettings(), now)
        in_flight.update(choice.agent_id for choice in answer.choices)
    assert 1 <= in_flight["stale"] <= 15


def test_later_attempts_try_nothing() -> None:
    statistics, now = two_agents(1.2), HOUR_S + 41.0
    agents = (RouteAgent("busy", 4, 0), RouteAgent("stale", 4, 0))
    for among in (agents, agents + tuple(RouteAgent(f"x{n}", 1, 1) for n in range(12))):
        request = RouteRequest(tasks(1, attempt=2), among)
        (choice,) = route(request, statistics, PREDICTOR, RouterSettings(), now).choices
        assert (choice.agent_id, choice.reason) == ("busy", RouteReason.MODEL)
