"""Tasks that this orchestrator holds and could assign now, by kind, highest priority first. Pure."""

from __future__ import annotations

import heapq


class ReadyQueue:
    """A heap a kind, ordered by priority, then arrival. Removal is lazy: the caller checks what it pops."""

    def __init__(self) -> None:
        self._heaps: dict[str, list[tuple[int, int, str]]] = {}

    def push(self, kind: str, priority: int, order: int, task_id: str) -> None:
        heapq.heappush(self._heaps.setdefault(kind, []), (priority, order, task_id))

    def kinds(self) -> list[str]:
        return [kind for kind, heap in self._heaps.items() if heap]

    def pop(self, kind: str) -> str | None:
        """The first task id of a kind, or None."""
        heap = self._heaps.get(kind)
        return heapq.heappop(heap)[2] if heap else None
