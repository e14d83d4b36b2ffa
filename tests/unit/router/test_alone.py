"""One task alone is decided without the arrays of a turn; nobody may see the difference."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent, RouteAnswer, RouteReason, RouteRequest, RouteTask
from outrider.router import routing
from outrider.router.alone import MOST_PLACES, choose_alone
from outrider.router.config import RouterSettings
from outrider.router.routing import route
from outrider.router.statistics import Attempt, Statistics
from tests.unit.router.fleets import shipped_predictor

PREDICTOR = shipped_predictor()
KINDS = ("chat", "sleep", "own")
NO_EXPLORING = RouterSettings(explore_rate=0.0)
NOW = 1_000.0


def drawn_facts(draw: random.Random) -> TaskFacts:
    chars = draw.choice([0, 40, draw.randrange(20_000)])
    asked_s = draw.choice([0.0, 0.0, draw.random() * 5])
    return TaskFacts(chars + 40, chars, draw.randrange(4), draw.choice([0, 64, 4000]), asked_s)


def drawn_statistics(draw: random.Random, agents: int) -> Statistics:
    """What a fleet may have taught: nothing, or several kinds with drift, waiting and failures."""
    statistics = Statistics()
    for number in range(draw.choice([0, 3, 40])):
        kind, name = draw.choice(KINDS[: draw.randrange(1, 4)]), draw.randrange(agents)
        at = draw.random() * NOW
        p50_s = draw.choice([None, draw.random() * 4])
        attempt = Attempt(
            f"t{number}", f"a{name}", kind, drawn_facts(draw), 4, draw.randrange(4), p50_s, 1, at - 9.0
        )
        if draw.random() < 0.2:
            statistics.began(attempt)
        elif draw.random() < 0.2:
            for _ in range(draw.randrange(1, 5)):
                statistics.failed(attempt, draw.choice([at, NOW - draw.random() * 20]))
        else:
            statistics.succeeded(attempt, draw.random() * 8, at)
    return statistics


def drawn_request(draw: random.Random, agents: int) -> RouteRequest:
    offered = tuple(
        RouteAgent(
            f"a{number}",
            draw.choice([0, 1, 4, 7, 1000]),
            draw.choice([0, 0, 1, 3, 900]),
            {kind: draw.random() * 9 for kind in KINDS if draw.random() < 0.2},
        )
        for number in range(agents)
    )
    among = tuple(draw.choices(range(agents), k=draw.randrange(agents + 1))) if draw.random() < 0.4 else None
    name = f"task-{draw.randrange(10**9)}"
    wanted = (RouteTask(name, draw.choice(KINDS), 5, draw.choice([1, 1, 2]), drawn_facts(draw), among),)
    return RouteRequest(wanted, offered, may_hold=draw.random() < 0.5)


def by_a_turn(request: RouteRequest, statistics: Statistics, options: RouterSettings) -> RouteAnswer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "choose_alone", lambda *_: None)
        return route(request, statistics, PREDICTOR, options, NOW)


@settings(deadline=None, max_examples=400)
@given(seed=st.integers(0, 2**64), agents=st.integers(1, 16), explore=st.sampled_from([0.0, 0.0, 0.5]))
def test_a_task_alone_gets_exactly_the_answer_of_a_turn(seed: int, agents: int, explore: float) -> None:
    draw = random.Random(seed)
    statistics, request = drawn_statistics(draw, agents), drawn_request(draw, agents)
    options = RouterSettings(explore_rate=explore)
    found = route(request, statistics, PREDICTOR, options, NOW)
    assert repr(found) == repr(by_a_turn(request, statistics, options))


@pytest.mark.parametrize("count", [1, 2, 5, 6, MOST_PLACES])
def test_agents_that_are_all_alike_are_told_apart_as_a_turn_does(count: int) -> None:
    agents = tuple(RouteAgent(f"a{number}", 4, 1) for number in range(count))
    chosen = set()
    for number in range(60):
        request = RouteRequest((RouteTask(f"t{number}", "chat", 5, 1, TaskFacts(300, 260, 1, 64)),), agents)
        found = route(request, Statistics(), PREDICTOR, NO_EXPLORING, NOW)
        assert found == by_a_turn(request, Statistics(), NO_EXPLORING)
        chosen.add(found.choices[0].agent_id)
    assert len(chosen) == count


def test_the_usual_request_is_decided_alone_and_the_others_by_a_turn() -> None:
    task = RouteTask("t", "chat", 5, 1, TaskFacts())
    few = tuple(RouteAgent(f"a{number}", 1, 0) for number in range(MOST_PLACES))
    full = tuple(RouteAgent(f"f{number}", 1, 1) for number in range(50))

    def alone(request: RouteRequest, options: RouterSettings = NO_EXPLORING) -> bool:
        return choose_alone(request, Statistics(), PREDICTOR, options, NOW) is not None

    assert alone(RouteRequest((task,), few + full))
    assert not alone(RouteRequest((task,), (*few, RouteAgent("more", 1, 0))))
    assert not alone(RouteRequest((task, RouteTask("u", "chat", 5, 1, TaskFacts())), few))
    assert not alone(RouteRequest((task,), few), RouterSettings(explore_rate=1.0))
    assert not alone(RouteRequest((task,), few), RouterSettings(policy="random"))


def test_the_reasons_of_a_task_alone() -> None:
    task = RouteTask("t", "chat", 5, 1, TaskFacts())
    two, one = (RouteAgent("a", 1, 0), RouteAgent("b", 1, 0)), (RouteAgent("a", 1, 0),)
    for agents, reason in ((two, RouteReason.COLD), (one, RouteReason.ONLY_CANDIDATE)):
        found = choose_alone(RouteRequest((task,), agents), Statistics(), PREDICTOR, NO_EXPLORING, NOW)
        assert found is not None
        assert found.choices[0].reason is reason
