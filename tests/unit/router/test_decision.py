"""The joint choice: within the free slots, good for all together, and the same in every process."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from outrider.router.decision import Slots, choose_jointly, draw, draws, hash_of


def slots_of(places: list[int]) -> Slots:
    agent = np.repeat(np.arange(len(places)), places)
    extra = np.concatenate([np.arange(count) for count in places]) if places else np.zeros(0)
    hashes = np.array([hash_of(f"agent-{i}") for i in agent], np.uint64)
    return Slots(agent, extra.astype(np.intp), hashes)


@given(
    places=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    groups=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
)
def test_no_slot_is_taken_twice_and_no_task_waits_beside_a_free_one(
    places: list[int], groups: list[int], seed: int
) -> None:
    slots = slots_of(places)
    costs = np.random.default_rng(seed).uniform(0.1, 9, (4, sum(places)))
    allowed = np.random.default_rng(seed + 1).random((4, len(places))) < 0.7
    costs[~allowed[:, slots.agent]] = np.inf
    ids = [f"t{n}" for n in range(len(groups))]
    taken = [choice.slot for choice in choose_jointly(costs, groups, ids, slots)]
    used = [slot for slot in taken if slot >= 0]
    assert len(used) == len(set(used))
    assert all(
        np.isfinite(costs[group, slot]) for group, slot in zip(groups, taken, strict=True) if slot >= 0
    )
    for group, slot in zip(groups, taken, strict=True):
        if slot < 0:
            assert not np.isfinite(costs[group, slots.open]).any(), (
                "a task was left beside a slot it may take"
            )


def test_slots_of_an_agent_fill_in_order() -> None:
    slots = slots_of([3])
    costs = np.array([[1.0, 0.5, 0.1]])
    assert [c.slot for c in choose_jointly(costs, [0, 0, 0], ["a", "b", "c"], slots)] == [0, 1, 2]


def test_the_task_that_loses_most_by_waiting_gets_the_fast_agent() -> None:
    slots = slots_of([1, 1])
    small, large = [1.0, 2.0], [10.0, 40.0]
    taken = choose_jointly(np.array([small, large]), [0, 1], ["small", "large"], slots)
    assert [choice.slot for choice in taken] == [1, 0]


def test_equal_costs_are_spread_by_the_tasks_own_hash() -> None:
    costs = np.ones((1, 4))
    counts = np.zeros(4)
    for number in range(400):
        (taken,) = choose_jointly(costs, [0], [f"task-{number}"], slots_of([1, 1, 1, 1]))
        counts[taken.slot] += 1
    assert counts.min() > 60, "ties must not all go to the same agent"


def test_draws_are_even_and_known_in_advance() -> None:
    assert draw("t1", "explore") == draw("t1", "explore") != draw("t2", "explore")
    drawn = np.concatenate([draws(f"t{n}", slots_of([1] * 10).hashes) for n in range(200)])
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1
    assert abs(float(drawn.mean()) - 0.5) < 0.03
