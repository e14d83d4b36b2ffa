"""The agents for tests and benchmarks: `echo` gives back its payload, `sleep` takes the time it is told."""

from __future__ import annotations

import asyncio
from typing import Any

from outrider.agents.attempt import Handler
from outrider.agents.outcome import TaskError
from outrider.agents.task import Task
from outrider.broker.messages import LONGEST_TASK_S
from outrider.broker.states import ErrorClass

LONGEST_STEP_S = 0.25
MOST_STEPS = 10


async def echo(task: Task) -> Any:
    """The payload."""
    return task.payload


def seconds_of(payload: Any) -> float:
    """The `seconds` of a sleep task. Raises TaskError (invalid_input)."""
    seconds = payload.get("seconds") if isinstance(payload, dict) else None
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds <= LONGEST_TASK_S:
        return float(seconds)
    raise TaskError(
        ErrorClass.INVALID_INPUT, f"payload.seconds is {seconds!r}, not a number of seconds from 0"
    )


def sleeper(speed: float) -> Handler:
    """A sleep handler that takes seconds / `speed`, and says how far it is."""

    async def sleep(task: Task) -> dict[str, float]:
        seconds = seconds_of(task.payload)
        real_s = seconds / speed
        steps = min(MOST_STEPS, max(1, int(real_s / LONGEST_STEP_S)))
        for step in range(1, steps + 1):
            await asyncio.sleep(real_s / steps)
            if step < steps:
                await task.progress(step / steps)
        return {"seconds": seconds}

    return sleep
