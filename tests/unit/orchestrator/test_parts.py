"""The core's parts alone: backoff, timers, ready queue, agent table, built-in rule, thresholds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.broker.config import BadSettings
from outrider.broker.routing import RouteAgent, RouteReason
from outrider.broker.states import AgentState
from outrider.orchestrator import agent_table
from outrider.orchestrator.agent_table import AgentTable
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.fallback import choose
from outrider.orchestrator.ready_queue import ReadyQueue
from outrider.orchestrator.retry import backoff_s, draw
from outrider.orchestrator.timers import Timers


@given(st.text(), st.integers(1, 1000))
def test_backoff_stays_within_its_bounds_and_never_changes(task_id: str, attempt: int) -> None:
    first = backoff_s(task_id, attempt, 1.0, 300.0)
    assert 0 <= first < min(300.0, 2.0 ** min(attempt - 1, 32))
    assert backoff_s(task_id, attempt, 1.0, 300.0) == first


def test_draws_are_spread_evenly() -> None:
    draws = [draw(f"t{n}", 1) for n in range(2000)]
    assert 0.47 < sum(draws) / len(draws) < 0.53
    assert len(set(draws)) == len(draws)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 50))))
def test_each_key_is_due_once_at_its_newest_time(sets: list[tuple[str, int]]) -> None:
    timers = Timers()
    for key, when in sets:
        timers.set(key, float(when))
    newest = {key: float(when) for key, when in sets}
    assert timers.next() == min(newest.values(), default=None)
    assert sorted(timers.due(25.0)) == sorted(k for k, when in newest.items() if when <= 25)
    assert timers.due(25.0) == []


def test_timers_forget_what_was_replaced() -> None:
    timers = Timers()
    for number in range(100_000):
        timers.set("one", float(number))
    assert len(timers._heap) < 5_000


def test_the_first_priority_comes_first_and_then_the_first_to_arrive() -> None:
    queue = ReadyQueue()
    for order, priority in enumerate((5, 0, 5, 9, 0)):
        queue.push("echo", priority, order, f"t{order}")
    assert [queue.pop("echo") for _ in range(6)] == ["t1", "t4", "t0", "t2", "t3", None]


def test_who_waited_long_enough_has_one_pick_in_eight() -> None:
    queue = ReadyQueue(ageing_s=60.0, every=8)
    queue.push("echo", 9, 0, "patient", ready_at=0.0)
    for order in range(1, 20):
        queue.push("echo", 0, order, f"urgent{order}", ready_at=550.0)
    picks = [queue.pop("echo") for _ in range(16)]
    assert picks.index("patient") == 7
    assert all(pick is not None for pick in picks)


def test_what_has_not_waited_long_enough_never_goes_before_a_higher_priority() -> None:
    queue = ReadyQueue(ageing_s=60.0, every=2)
    queue.push("echo", 5, 0, "later", ready_at=0.0)
    for order in range(1, 10):
        queue.push("echo", 0, order, f"urgent{order}", ready_at=299.0)
    assert [queue.pop("echo") for _ in range(10)][-1] == "later"


def test_nothing_starves_under_a_stream_of_urgent_tasks() -> None:
    queue = ReadyQueue(ageing_s=60.0, every=8)
    for priority in range(1, 10):
        queue.push("echo", priority, priority, f"p{priority}", ready_at=0.0)
    served = []
    for second in range(1200):
        queue.push("echo", 0, 100 + second, "urgent", ready_at=float(second))
        served.append(queue.pop("echo"))
    assert [task for task in served if task != "urgent"] == [f"p{priority}" for priority in range(1, 10)]


def test_an_agent_is_available_while_it_is_online_and_has_a_slot() -> None:
    table = AgentTable()
    agent = table.enter("a")
    agent.slots, agent.state = 1, AgentState.ONLINE
    table.declare(agent, ("echo", "chat"))
    assert table.free_slots("chat") == 1
    table.occupy("a", "t1")
    assert list(table.available("echo")) == []
    table.vacate("a", "t1")
    table.declare(agent, ("echo",))
    assert list(table.available("chat")) == []
    assert list(table.available("echo")) == [agent]
    assert table.declared == {"echo", "chat"}


def test_the_rule_prefers_the_shortest_expected_finish_with_a_free_slot() -> None:
    quick = RouteAgent("quick", 2, 1, {"echo": 1.0})
    slow = RouteAgent("slow", 2, 0, {"echo": 9.0})
    full = RouteAgent("full", 1, 1, {"echo": 0.1})
    first = choose("t1", "echo", [slow, quick, full], {}, RouteReason.FALLBACK_TIMEOUT)
    second = choose("t2", "echo", [slow, quick, full], {"quick": 1}, RouteReason.FALLBACK_TIMEOUT)
    nobody = choose("t3", "echo", [full], {}, RouteReason.FALLBACK_TIMEOUT)
    assert first is not None
    assert second is not None
    assert (first.agent_id, second.agent_id, nobody) == ("quick", "slow", None)


def test_the_rule_draws_among_equals() -> None:
    agents = [RouteAgent(f"a{n}", 1, 0) for n in range(4)]
    chosen = [choose(f"t{n}", "echo", agents, {}, RouteReason.FALLBACK_NO_ROUTER) for n in range(200)]
    counts = {
        agent.agent_id: sum(c is not None and c.agent_id == agent.agent_id for c in chosen)
        for agent in agents
    }
    assert min(counts.values()) > 25


def test_every_threshold_can_be_set_and_nonsense_is_named() -> None:
    assert Thresholds.from_environment({"OUTRIDER_HEARTBEAT_S": "2.5", "OUTRIDER_BATCH": "9"}) == Thresholds(
        heartbeat_s=2.5, batch=9
    )
    with pytest.raises(BadSettings, match="OUTRIDER_BATCH='many' is not a whole number"):
        Thresholds.from_environment({"OUTRIDER_BATCH": "many"})
    with pytest.raises(BadSettings, match="must be more than 0"):
        Thresholds.from_environment({"OUTRIDER_HEARTBEAT_S": "-1"})


def test_agents_that_are_gone_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_table, "MOST_AGENTS", 3)
    table = AgentTable()
    for n in range(6):
        agent = table.enter(f"a{n}")
        agent.state = AgentState.ONLINE if n == 0 else AgentState.OFFLINE
        table.declare(agent, ("echo", f"k{n}"))
    table.occupy("a5", "t1")
    table.enter("a6")
    assert [agent.agent_id for agent in table] == ["a0", "a5", "a6"]
    assert table.declared == {"echo", *(f"k{n}" for n in range(6))}
    assert [agent.agent_id for agent in table.of_kind("echo")] == ["a0", "a5"]
