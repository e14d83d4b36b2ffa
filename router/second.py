"""Second attempts in the statistics: two of one task run at once, and either may be the one that teaches.

Pure. The second is kept beside the first under a name that no task can have. Of two the one that succeeds
teaches its service time; the other is forgotten, since nobody knows how long it would have taken.
"""

from __future__ import annotations

from dataclasses import replace

from outrider.router.statistics import Attempt, Statistics

SECOND = "/second"
"""No task id holds a slash."""


def begin(statistics: Statistics, second: Attempt) -> Attempt:
    """The second attempt as it is kept; the epoch of the first moves along."""
    move(statistics, second.task_id, second.epoch)
    return replace(second, task_id=second.task_id + SECOND)


def move(statistics: Statistics, task_id: str, epoch: int) -> None:
    """Whatever still runs of the task reports under this epoch from now on."""
    for name in (task_id, task_id + SECOND):
        attempt = statistics.running.get(name)
        if attempt is not None:
            moved = replace(attempt, epoch=epoch)
            statistics.running[name] = statistics.by_agent[moved.agent_id][name] = moved


def of_agent(statistics: Statistics, task_id: str, agent_id: str) -> Attempt | None:
    """The agent's attempt of this task, or the first one of another if it has none."""
    second = statistics.running.get(task_id + SECOND)
    if second is not None and second.agent_id == agent_id:
        return second
    return statistics.running.get(task_id)


def over(statistics: Statistics, task_id: str) -> None:
    """The task ended: what still ran beside teaches nothing."""
    statistics.forgotten(task_id)
    statistics.forgotten(task_id + SECOND)
