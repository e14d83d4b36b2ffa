"""Tasks that wait for others: when they are written as blocked, when they go on, when they never will.

Pure functions over Memory. An end is learned from the fold; lookups are for what this orchestrator
did not see, and nobody asks in a circle: a task is looked at when something changed for it.
"""

from __future__ import annotations

from outrider.broker.flows import Waits
from outrider.broker.states import TERMINAL
from outrider.ledger.entries import Blocked
from outrider.ledger.rules import Phase
from outrider.orchestrator import attempts
from outrider.orchestrator.barriers import Barrier
from outrider.orchestrator.events import MayHaveEnded, ParentsRead
from outrider.orchestrator.instructions import ReadParents, ReadStory
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.transitions import TaskPhase, Trigger

MOST_WALKED = 10_000
MOST_MISSES = 2
"""A replica of a stream may lag behind, so one look is not enough to give up a task that the ledger keeps."""


def begin(m: Memory, task: TaskRecord, waits: Waits) -> None:
    """A task that waits for others came from the queue."""
    task.phase, task.waits = TaskPhase.BLOCKED, waits
    m.barriers.add(task.task_id, waits)
    m.barriers.to_look_at[task.task_id] = None
    attempts.set_timer(m, task)


def follow(m: Memory) -> None:
    """Draw the consequences of the event that was just folded."""
    b = m.barriers
    for task_id in b.timers.due(m.now):
        _look_anew(m, task_id)
    while True:
        over, b.over = b.over, []
        for parent, state in over:
            if parent not in m.tasks:
                b.drop(parent)
            b.ended(parent, state)
        changed, b.to_look_at = b.to_look_at, {}
        for task_id in changed:
            task = m.tasks.get(task_id)
            if task is not None and task.phase is TaskPhase.BLOCKED:
                _look_at(m, task)
        _ask(m)
        if not b.to_look_at:
            return


def _look_at(m: Memory, task: TaskRecord) -> None:
    barrier = m.barriers.waiting.get(task.task_id) or m.barriers.add(task.task_id, _waits_of(task))
    if task.writing is not None or not m.is_recovered or not m.is_mine(task):
        return
    if barrier.failed:
        attempts.close(m, task, "cancelled", barrier.failed)
    elif barrier.left == 0:
        _unblock(m, task)
    elif not barrier.is_asked:
        m.barriers.ask(barrier)
    elif barrier.is_looked_up:
        _park(m, task, barrier)


def _waits_of(task: TaskRecord) -> Waits:
    """As the ledger says, or else the message of the queue."""
    last = task.story.last
    return last.waits if isinstance(last, Blocked) else task.waits or Waits()


def _unblock(m: Memory, task: TaskRecord) -> None:
    """All that it waited for ended: it may be assigned as any other."""
    m.barriers.drop(task.task_id)
    task.waits = None
    task.move(Trigger.UNBLOCKED)
    if task.story.phase is Phase.BLOCKED:
        task.ready_at = m.now
    attempts.make_ready(m, task)


def _park(m: Memory, task: TaskRecord, barrier: Barrier) -> None:
    """Something it waits for has not ended: the ledger keeps the task until then."""
    is_written = task.story.phase is Phase.BLOCKED
    barrier.misses = barrier.misses + 1 if barrier.unknown else 0
    if barrier.unknown and not (is_written and barrier.misses < MOST_MISSES):
        _meet_unknown(m, task, barrier)
    elif _closes_a_circle(m, barrier):
        attempts.close(m, task, "dead", "it waits for itself, by way of the tasks that it waits for")
    elif not is_written and m.barriers.weight > m.thresholds.most_blocked:
        m.counters["blocked_too_many"] += 1
        m.barriers.drop(task.task_id)
        attempts.give_back(m, task, m.thresholds.unfit_cap_s)
    else:
        share = 1.0 + barrier.left / m.thresholds.look_again_members
        m.barriers.timers.set(task.task_id, m.now + m.thresholds.look_again_s * share)
        if not is_written:
            _write_blocked(m, task, barrier)


def _write_blocked(m: Memory, task: TaskRecord, barrier: Barrier) -> None:
    waits = barrier.waits
    entry = Blocked(
        task.task_id,
        task.kind,
        task.priority,
        tuple(barrier.open),
        waits.on_failure,
        waits.group or None,
        waits.group_size,
        task.facts,
    )
    attempts.write(m, task, entry)


def _meet_unknown(m: Memory, task: TaskRecord, barrier: Barrier) -> None:
    """It may have been published before what it waits for: once more in a while, but not for ever."""
    left_s = task.ready_at + m.thresholds.unknown_parent_s - m.now
    if task.is_in_queue and left_s > 0:
        m.barriers.drop(task.task_id)
        attempts.give_back(m, task, min(left_s, m.thresholds.unfit_first_s))
        return
    why = f"it waits for task {barrier.unknown}, which neither waits nor stands in the ledger"
    attempts.close(m, task, "dead", why)


def _closes_a_circle(m: Memory, barrier: Barrier) -> bool:
    """Whether what it waits for waits for it; only a task that is waited for can close a circle."""
    task_id, waiting = barrier.task_id, m.barriers.waiting
    if not m.barriers.children(task_id):
        return False
    seen, to_walk, steps = {task_id}, [barrier], 0
    while to_walk:
        for parent in to_walk.pop().open_ids():
            steps += 1
            if parent == task_id or steps > MOST_WALKED:
                return parent == task_id
            if parent in waiting and parent not in seen:
                seen.add(parent)
                to_walk.append(waiting[parent])
    return False


# ---- what this orchestrator did not see itself


def _ask(m: Memory) -> None:
    if not m.is_recovered:
        return
    parents = m.barriers.questions(m.tasks)
    if parents:
        m.out.append(ReadParents(parents))


def parents_read(m: Memory, event: ParentsRead) -> None:
    """The answer of queue and ledger."""
    states = dict(event.states)
    m.barriers.answered(states)
    over = [(parent, state) for parent, state in event.states if state in TERMINAL]
    if m.barriers:
        m.barriers.over += over
    # Its end passed us by, perhaps because the receipt of it did.
    m.out += [ReadStory(parent) for parent, _ in over if parent in m.tasks]


def may_have_ended(m: Memory, event: MayHaveEnded) -> None:
    """Something became of a task that is not in memory: look, if somebody waits for it."""
    for child in m.barriers.children(event.task_id):
        task = m.tasks.get(child)
        if task is not None and m.is_mine(task):
            m.barriers.ask(m.barriers.waiting[child], iter((event.task_id,)))
            m.barriers.to_look_at[child] = None


def _look_anew(m: Memory, task_id: str) -> None:
    """In case that an end was missed, which nothing else would ever tell."""
    task, barrier = m.tasks.get(task_id), m.barriers.waiting.get(task_id)
    if task is None or barrier is None or not m.is_mine(task):
        return
    m.barriers.ask(barrier)
