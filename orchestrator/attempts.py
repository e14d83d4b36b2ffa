"""The life of one task: its writes to the ledger, its attempts and its end.

Pure functions over Memory. Rule of the whole file: the ledger first, then everybody else.
"""

from __future__ import annotations

from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.subjects import LedgerAddress
from outrider.ledger.entries import Assigned, Blocked, Closed, Ended, Entry, Hedged
from outrider.ledger.rules import Phase
from outrider.orchestrator import limited, pairs
from outrider.orchestrator.aftermath import delay_s, judge_agent, why_hopeless
from outrider.orchestrator.control import died
from outrider.orchestrator.instructions import (
    AckTask,
    Announce,
    GiveBack,
    ReadStory,
    Release,
    StopAttempt,
    Write,
)
from outrider.orchestrator.model import Memory, SecondRun, TaskRecord, Wish
from outrider.orchestrator.stopping import release_agents, stop, stop_both, stop_under_all_names
from outrider.orchestrator.transitions import LIVE, TaskPhase, Trigger


def write(m: Memory, task: TaskRecord, entry: Entry) -> None:
    """Ask for one entry; the next waits until this one is settled."""
    m.writes += 1
    task.writing, task.write_number, task.is_doubtful = entry, m.writes, False
    m.out.append(Write(task.task_id, m.writes, entry, task.story.expect))


def end_attempt(
    m: Memory, task: TaskRecord, type_: str, why: str, *, charged: bool, second: SecondRun | None = None
) -> None:
    """Write that a live attempt is rejected, lost or timed out: the first, or the `second` of two."""
    if task.writing is not None or not task.story.is_live:
        return
    story = task.story
    attempt, agent_id = (
        (story.attempt, story.agent_id) if second is None else (second.attempt, second.agent_id)
    )
    write(m, task, Ended(task.task_id, attempt, agent_id, story.epoch, type_, why, charged))


def close(m: Memory, task: TaskRecord, type_: str, reason: str, error_class: str = "") -> None:
    """Write a terminal entry, or remember to, when another write is under way."""
    if task.phase is TaskPhase.CLOSED:
        return
    if task.writing is not None:
        task.wish = task.wish or Wish(type_, reason, error_class)
        return
    story = task.story
    if story.errors and type_ == "dead":
        error_class = error_class or story.errors[-1].error_class.value
    entry = Closed(
        task.task_id, story.epoch, type_, reason, error_class, errors=tuple(story.errors[-5:]), kind=task.kind
    )
    write(m, task, entry)


def expire_if_late(m: Memory, task: TaskRecord) -> bool:
    """End a task whose deadline has passed; tells whether it has."""
    is_late = task.deadline is not None and m.now >= task.deadline
    if is_late:
        close(m, task, "expired", "the deadline passed")
    return is_late


def written(m: Memory, task: TaskRecord, seq: int) -> None:
    """The entry asked for is stored: fold it, then act on it."""
    entry, task.writing = task.writing, None
    if entry is None:
        return
    is_folded = task.story.epoch == seq or (seq > task.story.expect and apply_own(m, task, seq, entry))
    if not is_folded:
        task.writing, task.is_doubtful = entry, True
        m.out.append(ReadStory(task.task_id))
        return
    react(m, task, entry)
    grant_wish(m, task)


def grant_wish(m: Memory, task: TaskRecord) -> None:
    """End the task as somebody wanted while a write was under way."""
    if task.wish is not None and task.phase is not TaskPhase.CLOSED:
        wish, task.wish = task.wish, None
        close(m, task, wish.type, wish.reason, wish.error_class)


def apply_own(m: Memory, task: TaskRecord, seq: int, entry: Entry) -> bool:
    """Fold an entry of our own; False when the rules say that it should not have been written."""
    story = task.story
    if story.apply(seq, LedgerAddress(task.task_id, "orchestrator", m.me), entry, m.now) is not None:
        m.counters["own_entries_ignored"] += 1
        return False
    if isinstance(entry, Blocked) or (isinstance(entry, Assigned) and entry.attempt == 1):
        story.envelope_seq = story.envelope_seq or seq
    return True


def react(m: Memory, task: TaskRecord, entry: Entry) -> None:
    """What follows from an entry that the ledger now holds."""
    if isinstance(entry, Assigned):
        attempt_begun(m, task)
        return
    if m.limits.is_used or isinstance(entry, Failed):
        limited.settle(m, task, entry)
    if isinstance(entry, (Failed, Ended)):
        attempt_ended(m, task, entry)
    elif isinstance(entry, Blocked):
        parked(m, task)
    elif isinstance(entry, Hedged):
        m.counters["hedged"] += 1
        look_after_both(m, task)
    else:
        ended(m, task, entry)


def parked(m: Memory, task: TaskRecord) -> None:
    """The ledger keeps the task until what it waits for has ended."""
    leave_queue(m, task)
    m.counters["blocked"] += 1
    m.out.append(Release(task.task_id))
    m.barriers.to_look_at[task.task_id] = None
    set_timer(m, task)


def attempt_begun(m: Memory, task: TaskRecord) -> None:
    """The assignment is durable: the queue may forget the task and the agent may know of it."""
    task.move(Trigger.STORED)
    leave_queue(m, task)
    start_lease(m, task)
    m.counters["attempts"] += 1
    send_assignment(m, task)


def start_lease(m: Memory, task: TaskRecord) -> None:
    """The attempt's clock begins: once for each attempt, however often its story is read."""
    if task.lease_epoch == task.story.begun:
        return
    timeout_s = task.timeout_s or m.thresholds.default_timeout_s
    task.lease_epoch = task.story.begun
    task.accepted_at, task.missing_in_beats = None, 0
    if m.limits.holding:
        limited.started(m, task)
    task.last_end = task.lease_until = m.now + timeout_s + m.thresholds.timeout_grace_s


def send_assignment(m: Memory, task: TaskRecord) -> None:
    """Tell the agent, again after a while if it gives no sign; the agent answers by epoch."""
    story = task.story
    task.resend_at = m.now + m.thresholds.resend_assign_s
    m.out.append(pairs.assignment(story, story.agent_id, story.attempt, story.begun))
    set_timer(m, task)


def leave_queue(m: Memory, task: TaskRecord) -> None:
    if task.is_in_queue:
        task.is_in_queue = False
        m.held[task.kind, task.priority] -= 1
        m.out.append(AckTask(task.task_id))


def give_back(m: Memory, task: TaskRecord, delay_s: float) -> None:
    """Return a task that is held to the queue for a while, and forget it."""
    m.held[task.kind, task.priority] -= 1
    del m.tasks[task.task_id]
    m.timers.clear(task.task_id)
    m.out += (GiveBack(task.task_id, delay_s), Release(task.task_id))


def attempt_ended(m: Memory, task: TaskRecord, entry: Failed | Ended) -> None:
    """An attempt ended without success: count it against the agent, then retry, or give up."""
    m.agents.vacate(entry.agent_id, task.task_id)
    m.counters[entry.type] += 1
    if task.phase in LIVE and not task.story.is_live:
        task.move(Trigger.ATTEMPT_ENDED)
    judge_agent(m, entry)
    if isinstance(entry, Ended):
        stop_under_all_names(m, task, entry)
    if task.story.is_live:
        look_after_both(m, task)
        return
    task.second = None
    if m.is_mine(task):
        plan_next(m, task)


def look_after_both(m: Memory, task: TaskRecord) -> None:
    """A second attempt began, or one of two ended: the live ones get their present epoch, and their due."""
    pairs.reconcile(m, task)
    if not m.is_mine(task):
        return
    if pairs.is_second_waiting(task):
        pairs.send_second(m, task)
    pairs.renew(m, task)
    set_timer(m, task)
    _end_what_is_gone(m, task)


def _end_what_is_gone(m: Memory, task: TaskRecord) -> bool:
    """Attempts whose agent was declared offline while their task was not ours or being written."""
    why, second = "its agent is gone", task.second
    if pairs.is_gone(m, task.story.agent_id):
        end_attempt(m, task, "lost", why, charged=task.accepted_at is not None)
    elif second is not None and pairs.is_gone(m, second.agent_id):
        end_attempt(m, task, "lost", why, charged=second.accepted_at is not None, second=second)
    else:
        return False
    return True


def plan_next(m: Memory, task: TaskRecord) -> None:
    """Between attempts: another one after a while, or none."""
    hopeless = why_hopeless(task, m.thresholds)
    if hopeless is not None:
        close(m, task, "dead", *hopeless)
    else:
        task.retry_at = m.now + delay_s(task, m.thresholds)
        set_timer(m, task)


def ended(m: Memory, task: TaskRecord, entry: Succeeded | Closed) -> None:
    """The task is terminal: free what it held and forget it."""
    agent = m.agents.get(task.story.agent_id)
    if isinstance(entry, Succeeded) and agent is not None:
        agent.observe(task.kind, entry.service_s)
        agent.failures_in_a_row = agent.uncharged_in_a_row = 0
        agent.is_probing = False
    elif task.phase in LIVE:
        stop(m, StopAttempt(task.story.agent_id, task.task_id, entry.epoch, entry.type))
    if task.story.pair is not None:
        stop_both(m, task, entry)
    if isinstance(entry, Closed):
        died(m, task, entry)
    release_agents(m, task)
    leave_queue(m, task)
    task.phase = TaskPhase.CLOSED
    m.timers.clear(task.task_id)
    del m.tasks[task.task_id]
    m.counters[entry.type] += 1
    m.out += (Release(task.task_id), Announce(task.task_id, entry.type))
    if m.barriers:
        m.barriers.over.append((task.task_id, entry.type))


def make_ready(m: Memory, task: TaskRecord) -> None:
    """The task may be assigned from now on."""
    task.ready_at = task.ready_at or m.now
    m.ready.push(task.kind, task.priority, task.order, task.task_id, task.ready_at)
    set_timer(m, task)


def set_timer(m: Memory, task: TaskRecord) -> None:
    """The one instant at which somebody must look at this task again."""
    times = [task.deadline] if task.deadline is not None else []
    if task.phase is TaskPhase.ASSIGNED:
        times.append(task.resend_at)
    if task.phase in LIVE:
        times.append(task.lease_until)
        if task.second is not None:
            times.append(pairs.next_time(task.second))
        elif task.hedge_at is not None and task.phase is TaskPhase.RUNNING:
            times.append(task.hedge_at)
    if task.phase is TaskPhase.BACKING_OFF:
        times.append(task.retry_at)
    if times:
        m.timers.set(task.task_id, min(times))
    else:
        m.timers.clear(task.task_id)


def due(m: Memory, task: TaskRecord) -> None:
    """The task's instant has come: find out which of its times it was."""
    if task.writing is not None or not m.is_mine(task):
        m.timers.set(task.task_id, m.now + 1.0)
    elif expire_if_late(m, task):
        return
    elif task.phase in LIVE and m.now >= task.lease_until:
        end_attempt(m, task, "timed_out", pairs.why_timed_out(task), charged=True)
    elif task.phase is TaskPhase.ASSIGNED and m.now >= task.resend_at:
        send_assignment(m, task)
    elif task.second is not None and m.now >= pairs.next_time(task.second):
        _second_due(m, task, task.second)
    elif task.phase is TaskPhase.BACKING_OFF and m.now >= task.retry_at:
        task.move(Trigger.RETRY_DUE)
        task.ready_at = m.now
        make_ready(m, task)
    else:
        set_timer(m, task)


def _second_due(m: Memory, task: TaskRecord, second: SecondRun) -> None:
    if m.now >= second.lease_until:
        end_attempt(m, task, "timed_out", pairs.why_timed_out(second), charged=True, second=second)
    else:
        pairs.send_second(m, task)
        set_timer(m, task)


def resync(m: Memory, task: TaskRecord) -> None:
    """Bring the record in line with its story after it was read or folded from others."""
    story = task.story
    if m.barriers:
        m.barriers.drop(task.task_id)
    if story.phase is Phase.BLOCKED or (story.phase is Phase.UNWRITTEN and task.waits is not None):
        task.phase = TaskPhase.BLOCKED
        m.barriers.to_look_at[task.task_id] = None
    elif story.phase is Phase.UNWRITTEN:
        task.phase = TaskPhase.HELD
        make_ready(m, task)
    if story.phase is Phase.UNWRITTEN:
        return
    leave_queue(m, task)
    if story.phase is Phase.LIVE:
        task.phase = TaskPhase.ASSIGNED
        m.agents.occupy(story.agent_id, task.task_id)
        if story.pair is not None:
            pairs.reconcile(m, task)
        limited.hold(m, task)
        take_charge(m, task)
    elif story.phase is Phase.BETWEEN:
        task.phase = TaskPhase.BACKING_OFF
        take_charge(m, task)
    elif story.phase is Phase.BLOCKED:
        take_charge(m, task)


def take_charge(m: Memory, task: TaskRecord) -> None:
    """Decide for a task whose state came from the ledger, if it is ours to decide."""
    if task.story.is_live:
        start_lease(m, task)
    if task.phase is TaskPhase.BLOCKED:
        m.barriers.to_look_at[task.task_id] = None
    if not m.is_mine(task):
        m.timers.clear(task.task_id)
    elif task.story.is_live and _end_what_is_gone(m, task):
        return
    elif task.phase is TaskPhase.ASSIGNED:
        send_assignment(m, task)
        if task.story.pair is not None:
            look_after_both(m, task)
    elif task.phase is TaskPhase.BACKING_OFF and task.writing is None:
        plan_next(m, task)
    else:
        set_timer(m, task)
