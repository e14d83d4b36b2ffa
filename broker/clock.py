"""Time as a parameter: a monotonic clock for decisions, a wall clock for labels and deadlines."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What a service reads time from; tests and the simulator pass their own."""

    def now(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 UTC; for labels, deadlines and nothing else."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()
