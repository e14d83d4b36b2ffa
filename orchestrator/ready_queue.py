"""Tasks that this orchestrator holds and could assign now, by kind: highest priority first, and none starves.

Pure. Most picks go by priority alone, so an urgent task overtakes everything; one in `every` goes by age.
"""

from __future__ import annotations

import heapq

Waiting = tuple[int, float, str]
"""Order of arrival, since when it is ready, task id."""


class ReadyQueue:
    """For each kind a heap a priority, by arrival. Removal is lazy: the caller checks what it pops."""

    def __init__(self, ageing_s: float = 60.0, every: int = 8) -> None:
        """One pick in `every` counts each `ageing_s` of waiting as one priority higher."""
        self._ageing_s = ageing_s
        self._every = every
        self._levels: dict[str, dict[int, list[Waiting]]] = {}
        self._picks = 0

    def push(self, kind: str, priority: int, order: int, task_id: str, ready_at: float = 0.0) -> None:
        levels = self._levels.setdefault(kind, {})
        heapq.heappush(levels.setdefault(priority, []), (order, ready_at, task_id))

    def kinds(self) -> list[str]:
        return [kind for kind, levels in self._levels.items() if levels]

    def pop(self, kind: str) -> str | None:
        """The task id of a kind whose turn it is, or None."""
        levels = self._levels.get(kind)
        if not levels:
            return None
        priority = next(iter(levels)) if len(levels) == 1 else self._choose(levels)
        heap = levels[priority]
        task_id = heapq.heappop(heap)[2]
        if not heap:
            del levels[priority]
        return task_id

    def _choose(self, levels: dict[int, list[Waiting]]) -> int:
        self._picks += 1
        if self._picks % self._every:
            return min(levels)
        # All age alike, so whoever is ahead stays ahead: the present time does not matter.
        return min(levels, key=lambda priority: priority * self._ageing_s + levels[priority][0][1])
