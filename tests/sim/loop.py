"""Virtual time: a heap of (time, order, action) and the one random generator that decides everything.

Knows nothing of NATS or Outrider. No asyncio, no real clock: the same seed gives the same run, always.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

Action = Callable[[], None]


class Loop:
    """Runs actions in the order of their virtual time, and of their planning where that is equal."""

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now = 0.0
        self.is_traced = is_traced
        self.lines: list[str] = []
        self.steps = 0
        self._heap: list[tuple[float, int, Action]] = []
        self._order = 0

    def at(self, when: float, action: Action) -> None:
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, action))

    def after(self, delay_s: float, action: Action) -> None:
        self.at(self.now + delay_s, action)

    def run(self, until: float, stop: Callable[[], bool] | None = None) -> None:
        """Run what is due before `until`; `stop` is asked after each action."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            self.steps += 1
            action()
            if stop is not None and stop():
                return
        self.now = max(self.now, until)

    def trace(self, who: str, what: object) -> None:
        """Keep a line of what happened, if anybody wants to read it."""
        if self.is_traced:
            self.lines.append(f"{self.now:9.4f} {who:>10} {what}")

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability


class SimClock:
    """One machine's clocks: monotonic from its boot, and a wall clock that may be wrong and may jump."""

    def __init__(self, loop: Loop, skew_s: float = 0.0) -> None:
        self._loop = loop
        self._boot = loop.random.uniform(0.0, 1e5)
        self.skew_s = skew_s

    def now(self) -> float:
        return self._loop.now + self._boot

    def wall(self) -> float:
        return EPOCH + self._loop.now + self.skew_s


EPOCH = 1.8e9
"""Virtual second 0 as seconds since 1970."""
