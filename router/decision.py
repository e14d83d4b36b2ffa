"""The joint choice: which task of a batch takes which free slot, so that all together finish early.

Pure. Knows a matrix of costs, not what they mean. A slot is one place of an agent; an agent's slots are
offered one after the other, so that each choice is already part of the load that the next one sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]
TIE_BREAK = 1e-6
"""Costs that differ by less than this share are the same: the task's hash decides."""
_SHIFT = np.uint64(31)
_MIXER = 0x9E3779B97F4A7C15
_MIX = np.uint64(_MIXER)
_ALL_BITS = 2**64 - 1


@lru_cache(maxsize=65536)
def hash_of(text: str) -> int:
    """64 bits of a name, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def draw(task_id: str, purpose: str) -> float:
    """A number in [0, 1) that only the task and the purpose decide."""
    return hash_of(f"{purpose} {task_id}") / 2.0**64


def draws(task_id: str, agents: NDArray[np.uint64]) -> Costs:
    """A number in [0, 1) for the task with each agent hash."""
    found: Costs = draws_for_all((task_id,), agents)[0]
    return found


def draws_for_all(task_ids: Sequence[str], agents: NDArray[np.uint64]) -> Costs:
    """The same for several tasks, a row each."""
    tasks = np.array([hash_of(task_id) for task_id in task_ids], np.uint64)
    mixed = (agents ^ tasks[:, None]) * _MIX
    mixed ^= mixed >> _SHIFT
    mixed *= _MIX
    found: Costs = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    return found


def draw_for(task: int, agent: int) -> float:
    """What `draws` gives for one agent; both are told by their `hash_of`."""
    mixed = (agent ^ task) * _MIXER & _ALL_BITS
    mixed ^= mixed >> 31
    mixed = mixed * _MIXER & _ALL_BITS
    return (mixed >> 11) / 2.0**53


@dataclass(slots=True)
class Slots:
    """Free places. `agent` is an index; slots of one agent stand together in the order in which they fill."""

    agent: NDArray[np.intp]
    extra: NDArray[np.intp]
    """How many places of the same agent fill before this one."""
    hashes: NDArray[np.uint64]
    open: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.open = self.extra == 0

    def take(self, slot: int) -> int:
        """The slot is used; returns the agent's next one, which is now offered, or -1."""
        self.open[slot] = False
        following = slot + 1
        if following < len(self.agent) and self.agent[following] == self.agent[slot]:
            self.open[following] = True
            return following
        return -1


@dataclass(frozen=True, slots=True)
class Taken:
    """Which slot a task takes (-1: none is free for it) and what all slots would have cost it then."""

    slot: int
    costs: Costs


def choose_jointly(
    costs: Costs, group_of: Sequence[int], task_ids: Sequence[str], slots: Slots
) -> list[Taken]:
    """A slot for each task, in the order of the tasks given.

    Tasks of one group share a row of `costs` (inf: not allowed). The group that would lose most by getting
    its second best goes first.
    """
    waiting: list[list[int]] = [[] for _ in range(len(costs))]
    for task in reversed(range(len(group_of))):
        waiting[group_of[task]].append(task)
    taken = [Taken(-1, costs[group]) for group in group_of]
    visible = np.where(slots.open, costs, np.inf)
    tosses = 1.0 + TIE_BREAK * draws_for_all(task_ids, slots.hashes)
    while (group := _most_urgent(visible, waiting)) >= 0:
        task = waiting[group].pop()
        slot = int((visible[group] * tosses[task]).argmin())
        taken[task] = Taken(slot, visible[group].copy())
        visible[:, slot] = np.inf
        following = slots.take(slot)
        if following >= 0:
            visible[:, following] = costs[:, following]
    return taken


def _most_urgent(visible: Costs, waiting: Sequence[Sequence[int]]) -> int:
    """The group with the largest regret that has a task and a place for it, or -1."""
    if len(waiting) == 1:
        return 0 if waiting[0] and visible[0].min() < np.inf else -1
    second_at = min(1, visible.shape[1] - 1)
    best, second = np.partition(visible, second_at, axis=1)[:, [0, second_at]].T
    able = np.isfinite(best) & np.array([bool(tasks) for tasks in waiting])
    if not able.any():
        return -1
    regret = np.where(able, second - np.where(able, best, 0.0), -1.0)
    return int(regret.argmax())
