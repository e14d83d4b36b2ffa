"""Attempts that must stop, and the slots they leave: what the ledger has ended may not run on.

Pure functions over Memory; writes nothing.
"""

from __future__ import annotations

from outrider.broker.outcomes import Succeeded
from outrider.ledger.entries import Assigned, Closed, Ended, Hedged
from outrider.ledger.fold import Story
from outrider.orchestrator import pairs
from outrider.orchestrator.instructions import StopAttempt
from outrider.orchestrator.model import Memory, SecondRun, TaskRecord
from outrider.orchestrator.transitions import LIVE


def stop(m: Memory, order: StopAttempt) -> None:
    """Have an agent stop an attempt that the ledger has ended; said again at beats that still name it.

    One that it rejected should not run, but an assignment sent twice may be taken the second time.
    """
    agent = m.agents.get(order.agent_id)
    if agent is not None:
        agent.stop(order)
    if m.is_recovered and order.reason != "rejected":
        m.out.append(order)


def stop_under_all_names(m: Memory, task: TaskRecord, entry: Ended) -> None:
    """Have an agent stop an attempt that ended, under each epoch by which it may know it."""
    if task.story.pair is None:
        stop(m, StopAttempt(entry.agent_id, task.task_id, entry.epoch, entry.type))
        return
    run = pairs.run_on(task, entry.agent_id)
    begun = run.begun if isinstance(run, SecondRun) else task.lease_epoch or task.story.begun
    for epoch in task.story.epochs_of(begun):
        stop(m, StopAttempt(entry.agent_id, task.task_id, epoch, entry.type))


def stop_both(m: Memory, task: TaskRecord, entry: Succeeded | Closed) -> None:
    """The task is over: whoever of two still runs it stops, under whatever epoch it knows."""
    story, late = task.story, task.story.pair.other if task.story.pair is not None else None
    lives = [] if late is None else [(late.agent_id, late.begun)]
    if isinstance(entry, Closed) and task.phase in LIVE:
        lives.append((story.agent_id, story.begun))
    for agent_id, begun in lives:
        for epoch in story.epochs_of(begun):
            stop(m, StopAttempt(agent_id, task.task_id, epoch, entry.type))


def stop_what_ended(m: Memory, was: Story, story: Story) -> None:
    """Have the live attempts of a story stop that another reading of it does not hold any more."""
    lives = [(was.agent_id, was.begun)]
    if was.other is not None:
        lives.append((was.other.agent_id, was.other.begun))
    kept = {story.begun, *([] if story.other is None else [story.other.begun])} if story.is_live else set()
    reason = story.last.type if story.last is not None else ""
    for agent_id, begun in lives:
        if begun not in kept:
            for epoch in story.epochs_of(begun) if story.pair is not None else was.epochs_of(begun):
                stop(m, StopAttempt(agent_id, was.task_id, epoch, reason))


def release_agents(m: Memory, task: TaskRecord) -> None:
    """Free the slots of live attempts and of one that was being assigned."""
    if task.writing is None and task.story.pair is None:
        m.agents.vacate(task.story.agent_id, task.task_id)
        return
    names = {task.story.agent_id}
    if isinstance(task.writing, (Assigned, Hedged)):
        names.add(task.writing.agent_id)
    if task.story.pair is not None and task.story.pair.other is not None:
        names.add(task.story.pair.other.agent_id)
    if task.second is not None:
        names.add(task.second.agent_id)
        task.second = None
    for agent_id in names:
        m.agents.vacate(agent_id, task.task_id)
