"""Tasks left waiting on purpose: a full agent is expected to finish them sooner than any that is free.

Pure functions over Memory. They are asked about again as soon as a slot gets free, an agent comes or another
task of the kind arrives, and after `hold_look_s` in any case: nothing waits for news that never comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from outrider.orchestrator.agent_table import AgentRecord
from outrider.orchestrator.attempts import make_ready
from outrider.orchestrator.model import Aside, Memory, TaskRecord
from outrider.orchestrator.transitions import TaskPhase, Trigger

MOST_OVERTAKEN = 8
"""After so many rounds in which a later task went first, a task gets the best free slot at once."""


def is_slow(m: Memory, kind: str, agents: Iterable[AgentRecord]) -> bool:
    """Whether waiting for a slot can pay: all who are known to do the kind take longer than a decision."""
    means = [agent.mean_s[kind] for agent in agents if kind in agent.mean_s]
    return bool(means) and min(means) >= m.thresholds.hold_from_s


def must_wait(m: Memory, kind: str) -> bool:
    """Whether a round now would only ask again what was just answered; calls the tasks back if not."""
    aside = m.aside.get(kind)
    if aside is None:
        return False
    is_news = aside.freed != m.agents.freed or m.now >= aside.until
    if not is_news and (aside.is_backlog or kind not in m.ready.kinds()):
        return True
    del m.aside[kind]
    for task_id in aside.tasks:
        task = m.tasks.get(task_id)
        if task is not None and task.phase is TaskPhase.HELD and task.writing is None:
            make_ready(m, task)
    return False


def count_overtaken(left: Iterable[TaskRecord], placed: Sequence[TaskRecord]) -> None:
    """Note who was left waiting while one that is no more urgent and came later was placed."""
    for task in left:
        if any(other.order > task.order and other.priority >= task.priority for other in placed):
            task.overtaken += 1


def is_its_turn(task: TaskRecord) -> bool:
    """Whether it was overtaken so often that it goes first, whatever would be best for all together."""
    return task.overtaken >= MOST_OVERTAKEN


def set_aside(m: Memory, tasks: Iterable[TaskRecord], freed: int) -> None:
    """Leave tasks of a round waiting that was put when so many slots had got free."""
    for task in tasks:
        task.move(Trigger.PUT_BACK)
        aside = m.aside.setdefault(task.kind, Aside())
        aside.tasks.append(task.task_id)
        aside.is_backlog = task.kind in m.ready.kinds()
        aside.freed = freed
        aside.until = m.now + m.thresholds.hold_look_s
        m.counters["held_for_a_full_agent"] += 1
