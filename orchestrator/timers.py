"""One wake-up time per key in a heap that does not grow with what was finished long ago. Pure."""

from __future__ import annotations

import heapq

_SLACK = 1024


class Timers:
    """At most one instant per key; setting it again replaces it."""

    def __init__(self) -> None:
        self._when: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._when)

    def set(self, key: str, when: float) -> None:
        if self._when.get(key) == when:
            return
        self._when[key] = when
        heapq.heappush(self._heap, (when, key))
        if len(self._heap) > 2 * len(self._when) + _SLACK:
            self._heap = [(at, name) for name, at in self._when.items()]
            heapq.heapify(self._heap)

    def clear(self, key: str) -> None:
        self._when.pop(key, None)

    def due(self, now: float) -> list[str]:
        """Keys whose instant has come, earliest first; they are cleared."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._when.get(key) == when:
                del self._when[key]
                found.append(key)
        return found

    def next(self) -> float | None:
        """The earliest instant, or None."""
        while self._heap and self._when.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
