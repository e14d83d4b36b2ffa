"""A batch of tasks and candidates becomes choices that an operator can follow, or one clear error."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.broker.errors import OutriderError
from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent, RouteAnswer, RouteReason, RouteRequest, RouteTask
from outrider.router.config import RouterSettings
from outrider.router.routing import route
from outrider.router.statistics import Attempt, Statistics
from tests.unit.router.fleets import shipped_predictor

PREDICTOR = shipped_predictor()
FACTS = TaskFacts(300, 260, 1, 64)


def learned(seconds: dict[str, float], times: int = 10, kind: str = "chat") -> Statistics:
    """Statistics after each agent ran some tasks of a kind in its own number of seconds."""
    statistics = Statistics()
    for number in range(times):
        for agent_id, service_s in seconds.items():
            attempt = Attempt(f"t{number}", agent_id, kind, FACTS, 4, 0, None, 1, 0.0)
            statistics.succeeded(attempt, service_s, service_s)
    return statistics


def task(name: str, **more: Any) -> RouteTask:
    return replace(RouteTask(name, "chat", 5, 1, FACTS), **more)


def tasks(count: int, **more: Any) -> tuple[RouteTask, ...]:
    return tuple(task(f"task-{number}", **more) for number in range(count))


def agent(name: str, slots: int = 4, in_flight: int = 0, **more: Any) -> RouteAgent:
    return RouteAgent(name, slots, in_flight, **more)


def answer(
    some_tasks: tuple[RouteTask, ...],
    agents: tuple[RouteAgent, ...],
    statistics: Statistics | None = None,
    **more: Any,
) -> RouteAnswer:
    options = RouterSettings(**({"explore_rate": 0.0} | more))
    return route(RouteRequest(some_tasks, agents), statistics or Statistics(), PREDICTOR, options, 100.0)


def test_the_agent_expected_to_finish_first_is_chosen_and_the_answer_says_why() -> None:
    found = answer(tasks(1), (agent("slow"), agent("fast")), learned({"slow": 9.0, "fast": 1.0}))
    (choice,) = found.choices
    assert (choice.agent_id, choice.reason) == ("fast", RouteReason.MODEL)
    assert found.model == PREDICTOR.version
    first, second = choice.candidates
    assert (first.agent_id, second.agent_id) == ("fast", "slow")
    assert first.p50_s == pytest.approx(1.0, rel=0.5)
    assert second.p50_s == pytest.approx(9.0, rel=0.5)
    for candidate in choice.candidates:
        assert candidate.p50_s <= candidate.p90_s
        assert candidate.finish_s == candidate.waiting_s + candidate.p50_s
    assert (choice.p50_s, choice.p90_s, choice.finish_s) == (first.p50_s, first.p90_s, first.finish_s)


def test_reasons() -> None:
    two = (agent("a"), agent("b"))
    known = learned({"a": 1.0, "b": 2.0})
    assert answer(tasks(1), two).choices[0].reason is RouteReason.COLD
    assert answer(tasks(1), two, known).choices[0].reason is RouteReason.MODEL
    assert answer(tasks(1), (agent("a"),), known).choices[0].reason is RouteReason.ONLY_CANDIDATE
    full = (agent("a"), agent("b", slots=2, in_flight=2))
    assert answer(tasks(1), full, known).choices[0].reason is RouteReason.ONLY_CANDIDATE
    told = tuple(replace(each, mean_s={"chat": 2.0}) for each in two)
    assert answer(tasks(1), told).choices[0].reason is RouteReason.MODEL


def test_hardly_known_agents_are_tried_within_the_budget() -> None:
    known = learned({"good": 1.0})
    both = (agent("good", slots=1000), agent("new", slots=1000))
    reasons: Counter[str] = Counter()
    for number in range(400):
        (choice,) = answer((task(f"x{number}"),), both, known, explore_rate=0.1).choices
        reasons[choice.reason] += 1
        if choice.reason is RouteReason.EXPLORE:
            assert choice.agent_id == "new"
            assert "new" in [candidate.agent_id for candidate in choice.candidates]
    assert 20 <= reasons[RouteReason.EXPLORE] <= 60
    well_known = learned({"good": 1.0, "new": 1.5})
    found = [
        answer((task(f"x{n}"),), both, well_known, explore_rate=1.0).choices[0].reason for n in range(20)
    ]
    assert set(found) == {RouteReason.MODEL}


def test_no_second_attempt_is_spent_on_exploring() -> None:
    both, known = (agent("good"), agent("new")), learned({"good": 0.01})
    for attempt, expected in ((1, RouteReason.EXPLORE), (2, RouteReason.MODEL)):
        (choice,) = answer((task("x", attempt=attempt),), both, known, explore_rate=1.0).choices
        assert choice.reason is expected


def test_an_agent_that_only_ever_failed_is_not_explored() -> None:
    known = learned({"good": 0.01})
    known.failed(Attempt("f", "new", "chat", FACTS, 4, 0, None, 1, 99.0), 99.5)
    (choice,) = answer(tasks(1), (agent("good"), agent("new")), known, explore_rate=1.0).choices
    assert choice.agent_id == "good"


def test_an_agent_that_fails_fast_attracts_no_work() -> None:
    statistics = learned({"steady": 2.0, "flaky": 1.5})
    attempt = Attempt("f", "flaky", "chat", FACTS, 4, 0, None, 1, 0.0)
    for _ in range(15):
        statistics.failed(attempt, 99.0)
    (choice,) = answer(tasks(1), (agent("steady"), agent("flaky")), statistics).choices
    assert choice.agent_id == "steady"
    assert choice.candidates[1].waiting_s > 2.0, "expected failures are shown as waiting"


def test_a_batch_spreads_over_equal_agents() -> None:
    statistics = learned({f"a{n}": 2.0 for n in range(4)})
    found = answer(tasks(8), tuple(agent(f"a{n}") for n in range(4)), statistics)
    counts = Counter(choice.agent_id for choice in found.choices)
    assert max(counts.values()) <= 3


def test_more_tasks_than_places_leaves_the_least_urgent_unrouted() -> None:
    mixed = (*tasks(6, priority=7), task("urgent-1", priority=0), task("urgent-2", priority=1))
    found = answer(mixed, (agent("a", slots=2), agent("b", slots=1)), learned({"a": 1.0, "b": 1.0}))
    assert {"urgent-1", "urgent-2"} <= {choice.task_id for choice in found.choices}
    assert len(found.choices) == 3


def test_a_task_goes_only_where_it_may() -> None:
    statistics = learned({"fast": 1.0, "slow": 9.0})
    both = (agent("fast"), agent("slow"))
    (choice,) = answer(tasks(1, among=(1,)), both, statistics).choices
    assert (choice.agent_id, choice.reason) == ("slow", RouteReason.ONLY_CANDIDATE)
    assert [candidate.agent_id for candidate in choice.candidates] == ["slow"]
    assert answer(tasks(1, among=()), both, statistics).choices == ()


def test_an_agent_without_a_free_slot_is_never_chosen() -> None:
    assert answer(tasks(3), (agent("full", 2, 2), agent("over", 2, 9), agent("none", 0, 0))).choices == ()
    assert answer((), (agent("a"),)).choices == ()
    assert answer(tasks(2), ()).choices == ()


@settings(deadline=None, max_examples=60)
@given(
    places=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), min_size=1, max_size=12),
    wishes=st.lists(
        st.tuples(st.sampled_from(["chat", "sleep", "own"]), st.integers(0, 9), st.integers(0, 2**12 - 1)),
        max_size=90,
    ),
    policy=st.sampled_from(["model", "random"]),
    explore=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_free_slots_are_never_exceeded_and_never_left_idle(
    places: list[tuple[int, int]], wishes: list[tuple[str, int, int]], policy: str, explore: float
) -> None:
    agents = tuple(agent(f"a{n}", slots, busy) for n, (slots, busy) in enumerate(places))
    wanted = tuple(
        task(
            f"t{n}",
            kind=kind,
            priority=priority,
            facts=TaskFacts(n % 3 * 100, n % 3 * 90),
            among=None if mask % 3 == 0 else tuple(i for i in range(len(agents)) if mask >> i & 1),
        )
        for n, (kind, priority, mask) in enumerate(wishes)
    )
    found = answer(wanted, agents, learned({"a0": 1.0, "a3": 4.0}), policy=policy, explore_rate=explore)
    used = Counter(choice.agent_id for choice in found.choices)
    free = {each.agent_id: max(0, each.free) for each in agents}
    assert all(used[name] <= free[name] for name in used)
    names = [choice.task_id for choice in found.choices]
    assert len(names) == len(set(names))
    by_id = {each.task_id: each for each in wanted}
    for choice in found.choices:
        among = by_id[choice.task_id].among
        assert among is None or int(choice.agent_id[1:]) in among
        assert choice.agent_id in [candidate.agent_id for candidate in choice.candidates]
        assert len(choice.candidates) <= 5
    for each in wanted:
        if each.task_id not in names:
            allowed = range(len(agents)) if each.among is None else each.among
            assert all(used[f"a{i}"] == free[f"a{i}"] for i in allowed), "a task waits beside a free slot"


def test_the_random_policy_ignores_what_is_known_and_says_so() -> None:
    statistics = learned({"fast": 1.0, "slow": 9.0})
    counts: Counter[str] = Counter()
    for number in range(300):
        found = answer((task(f"x{number}"),), (agent("fast"), agent("slow")), statistics, policy="random")
        counts[found.choices[0].agent_id] += 1
        assert (found.model, found.choices[0].reason) == ("random", RouteReason.EXPLORE)
        assert found.choices[0].p50_s > 0
    assert min(counts.values()) > 110


def test_the_same_request_gets_the_same_answer() -> None:
    agents = tuple(agent(f"a{n}") for n in range(5))
    assert answer(tasks(20), agents) == answer(tasks(20), agents)


NONSENSE = {
    "a task twice": RouteRequest((task("a"), task("a")), (agent("x"),)),
    "an agent twice": RouteRequest((task("a"),), (agent("x"), agent("x"))),
    "a name with a blank": RouteRequest((task("a b"),), (agent("x"),)),
    "an empty agent name": RouteRequest((task("a"),), (agent(""),)),
    "among beyond the agents": RouteRequest((task("a", among=(3,)),), (agent("x"),)),
    "among below zero": RouteRequest((task("a", among=(-1,)),), (agent("x"),)),
    "negative slots": RouteRequest((task("a"),), (agent("x", -1),)),
    "negative in_flight": RouteRequest((task("a"),), (agent("x", 1, -1),)),
    "too many tasks": RouteRequest(tasks(1025), (agent("x"),)),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_gets_one_clear_error(what: str) -> None:
    with pytest.raises(OutriderError) as caught:
        route(NONSENSE[what], Statistics(), PREDICTOR, RouterSettings(), 0.0)
    assert caught.value.message


@pytest.mark.parametrize(
    "facts",
    [
        TaskFacts(-5, -5, -5, -5, -5.0),
        TaskFacts(2**63, 2**63, 2**63, 2**63, 1e300),
        TaskFacts(asked_s=1e-300),
    ],
)
def test_absurd_facts_still_give_finite_predictions(facts: TaskFacts) -> None:
    told = (agent("a", mean_s={"chat": -3.0, "own": 1e300}), agent("b"))
    found = answer((task("t", facts=facts), task("u", facts=facts, kind="own")), told)
    assert len(found.choices) == 2
    for choice in found.choices:
        assert 0 < choice.p50_s <= choice.p90_s < 1e8
