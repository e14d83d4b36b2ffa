"""The orchestrator's decisions: one synchronous function of (event, now), with no I/O and no clock.

Pure. The same core runs live, in the simulator and in replay; `handle` returns what the shell shall do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outrider.broker.outcomes import Succeeded
from outrider.broker.states import TaskState
from outrider.broker.subjects import LOWEST_PRIORITY, parse_ledger
from outrider.broker.views import AgentView, OrchestratorStats
from outrider.ledger.entries import Assigned, Blocked, Closed, Ended, Entry, Hedged
from outrider.ledger.fold import Story
from outrider.ledger.rules import Phase
from outrider.orchestrator import (
    admission,
    answers,
    attempts,
    blocking,
    control,
    dispatch,
    events,
    health,
    hedging,
    overload,
    showing,
)
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.instructions import AckTask, Instruction, ReadStory, StopAttempt
from outrider.orchestrator.model import Memory, TaskRecord, strip
from outrider.orchestrator.stopping import release_agents, stop, stop_what_ended
from outrider.orchestrator.transitions import SHOWN_AS


class Core:
    """One orchestrator's memory and its decisions."""

    def __init__(self, orchestrator_id: str, thresholds: Thresholds | None = None) -> None:
        self.memory = Memory(orchestrator_id, thresholds or Thresholds())
        self._handlers: dict[type, Callable[[Memory, Any], None]] = {
            events.TaskPulled: _pulled,
            events.TaskUnreadable: _unreadable,
            events.Routed: _routed,
            events.RouteFailed: _route_failed,
            events.Written: _written,
            events.WriteFailed: _write_failed,
            events.EntryStored: _entry_stored,
            events.StoryRead: _story_read,
            events.ParentsRead: blocking.parents_read,
            events.MayHaveEnded: blocking.may_have_ended,
            events.MemberStored: lambda m, e: health.member_stored(m, e.member),
            events.ControlStored: control.control_stored,
            events.Recovered: _recovered,
            events.AgentJoined: health.joined,
            events.AgentBeat: health.beat,
            events.AgentUnreachable: lambda m, e: health.unreachable(m, e.agent_id),
            events.AssignAnswered: answers.assign_answered,
            events.AssignUnheard: answers.assign_unheard,
            events.ProgressSeen: health.progress_seen,
            events.CancelRequested: _cancel_requested,
            events.PulseHeard: _pulse_heard,
            events.LinkChanged: _link_changed,
            events.LedgerSeen: overload.ledger_seen,
            events.LimitSet: lambda m, e: admission.set_limit(m, e.limit, e.seq),
            events.Ticked: _ticked,
        }

    def handle(self, event: events.Event, now: float) -> list[Instruction]:
        """Fold one event in; `now` is the shell's monotonic clock and never goes back."""
        m = self.memory
        m.now = now
        m.out = []
        self._handlers[type(event)](m, event)
        if m.barriers:
            blocking.follow(m)
        dispatch.start_round(m)
        return m.out

    def window(self, kind: str, priority: int) -> int:
        """How many more messages of this kind and priority may be on their way from the queue."""
        m = self.memory
        if not m.is_recovered or m.is_ledger_full or m.pauses.covers(kind):
            return 0
        if not m.agents.has_online(kind):
            return 0
        room = min(m.thresholds.most_held, m.agents.free_slots(kind) + m.thresholds.lookahead)
        if m.limits.is_used:
            return admission.window(m, kind, priority, room)
        return max(0, room - m.held[kind, priority])

    def wake_at(self) -> float | None:
        """When the next task wants to be looked at."""
        return self.memory.timers.next()

    def shown_state(self, task_id: str) -> TaskState | None:
        """The state of a task that is in memory, `running` included."""
        task = self.memory.tasks.get(task_id)
        return SHOWN_AS.get(task.phase) if task is not None else None

    def why_waiting(self, kind: str, limit_key: str | None) -> str | None:
        """The limit that keeps such a task from starting now, for people."""
        return admission.why_waiting(self.memory, kind, limit_key)

    def agent_views(self) -> list[AgentView]:
        return showing.agent_views(self.memory)

    def stats(self) -> OrchestratorStats:
        return showing.stats(self.memory)

    def priorities(self) -> range:
        return range(LOWEST_PRIORITY + 1)


def _pulled(m: Memory, event: events.TaskPulled) -> None:
    known = m.tasks.get(event.task_id)
    if known is not None:
        if known.story.phase is not Phase.UNWRITTEN:
            m.out.append(AckTask(event.task_id))
        return
    task = TaskRecord(
        Story(event.task_id),
        event.kind,
        event.priority,
        m.next_order(),
        event.facts,
        event.requires,
        event.max_attempts,
        event.timeout_s,
        event.deadline,
        ready_at=event.submitted,
        is_in_queue=True,
        unfit=event.deliveries - 1,
        limit_key=event.limit_key,
        may_hedge=event.may_hedge,
    )
    m.tasks[event.task_id] = task
    m.held[event.kind, event.priority] += 1
    if event.waits is not None:
        blocking.begin(m, task, event.waits)
    if not attempts.expire_if_late(m, task) and event.waits is None:
        attempts.make_ready(m, task)


def _unreadable(m: Memory, event: events.TaskUnreadable) -> None:
    if event.task_id in m.tasks:
        return
    task = TaskRecord(Story(event.task_id), event.kind, event.priority, m.next_order(), is_in_queue=True)
    m.tasks[event.task_id] = task
    m.held[event.kind, event.priority] += 1
    attempts.write(m, task, Closed(event.task_id, 0, "dead", event.why, "malformed", kind=event.kind))


def _routed(m: Memory, event: events.Routed) -> None:
    if event.round in m.hedges.asked:
        hedging.routed(m, event.round, event.choices, event.model)
    else:
        dispatch.routed(m, event.round, event.choices, event.model, event.held)


def _route_failed(m: Memory, event: events.RouteFailed) -> None:
    if event.round in m.hedges.asked:
        hedging.route_failed(m, event.round, event.reason)
    else:
        dispatch.route_failed(m, event.round, event.reason)


def _written(m: Memory, event: events.Written) -> None:
    task = m.tasks.get(event.task_id)
    if task is not None and task.write_number == event.number:
        attempts.written(m, task, event.seq)


def _write_failed(m: Memory, event: events.WriteFailed) -> None:
    task = m.tasks.get(event.task_id)
    if task is not None and task.writing is not None and task.write_number == event.number:
        m.counters["writes_failed"] += 1
        task.is_doubtful = True
        m.out.append(ReadStory(event.task_id))


def _entry_stored(m: Memory, event: events.EntryStored) -> None:
    record = event.record
    entry = strip(record.entry)
    where = parse_ledger(record.subject)
    task = m.tasks.get(where.task_id) or _foreign(m, event, where.task_id)
    if task is None:
        blocking.may_have_ended(m, events.MayHaveEnded(where.task_id))
        control.died_unseen(m, record, event.at)
        return
    if record.seq <= task.story.expect:
        return
    if task.writing is not None and where.role == "agent":
        # Of our write and this one only one counts, whatever an agent that expects nothing may have stored:
        # our receipt tells which, and the story is read if it was not ours.
        return
    before, expect = task.story.owner, task.story.expect
    if task.story.apply(record.seq, where, entry, event.at) is not None:
        m.counters["ignored_entries"] += 1
        del task.story.ignored[:-10]
        if m.is_recovered:
            _doubt(m, task, expect)
        return
    if task.story.owner not in {before, m.me}:
        m.owners.setdefault(task.story.owner, m.now)
    if isinstance(entry, (Assigned, Hedged, Blocked)):
        _begun_elsewhere(m, task)
    elif task.writing is not None and not isinstance(entry, (Succeeded, Closed)):
        _react_beside_write(m, task, entry)
    else:
        attempts.react(m, task, entry)


def _doubt(m: Memory, task: TaskRecord, expect: int) -> None:
    """Perhaps we missed what allows an entry: a late write of ours, or another orchestrator's.

    Until the story is read we expect what we knew for certain, so that nothing is stored on a wrong belief.
    """
    task.story.expect = expect
    if task.writing is None:
        m.out.append(ReadStory(task.task_id))


def _react_beside_write(m: Memory, task: TaskRecord, entry: Entry) -> None:
    """Another orchestrator came first: our own write will be refused, and the story read then."""
    if isinstance(entry, Ended):
        m.agents.vacate(entry.agent_id, task.task_id)
        stop(m, StopAttempt(entry.agent_id, task.task_id, entry.epoch, entry.type))


def _begun_elsewhere(m: Memory, task: TaskRecord) -> None:
    task.story.envelope_seq = task.story.envelope_seq or task.story.epoch
    release_agents(m, task)
    task.writing = None
    attempts.resync(m, task)


def _foreign(m: Memory, event: events.EntryStored, task_id: str) -> TaskRecord | None:
    """A record for a task that another orchestrator began."""
    entry = event.record.entry
    if not isinstance(entry, (Assigned, Blocked)) or entry.envelope is None:
        return None
    envelope = entry.envelope
    task = TaskRecord(
        Story(task_id),
        entry.kind,
        entry.priority,
        m.next_order(),
        entry.facts,
        envelope.requires,
        envelope.max_attempts,
        envelope.timeout_s,
        event.deadline,
        ready_at=event.at,
        limit_key=envelope.limit_key,
        may_hedge=envelope.hedge is True,
    )
    m.tasks[task_id] = task
    return task


def _story_read(m: Memory, event: events.StoryRead) -> None:
    """The truth about a task whose write was refused or unknown, or that we seem to know wrongly."""
    task = m.tasks.get(event.task_id)
    if task is None or (task.writing is not None and not task.is_doubtful):
        return
    if event.story.expect < task.story.expect:
        # Read before what was folded since.
        if task.writing is not None:
            m.out.append(ReadStory(task.task_id))
        return
    if task.writing is None and event.story.epoch == task.story.epoch:
        task.story.expect = event.story.expect
        return
    _adopt(m, task, event.story)


def _adopt(m: Memory, task: TaskRecord, story: Story) -> None:
    """Go on from the story as it was read; what was being written and is not in it is written again."""
    entry, was = task.writing, task.story
    release_agents(m, task)
    if was.is_live and story.epoch != was.epoch and story.last is not None:
        stop_what_ended(m, was, story)
    task.writing = None
    task.story = story
    task.story.envelope = None
    if task.story.owner not in ("", m.me):
        m.owners.setdefault(task.story.owner, m.now)
    last = story.last
    if story.is_terminal and isinstance(last, (Succeeded, Closed)):
        attempts.ended(m, task, last)
        return
    attempts.resync(m, task)
    if isinstance(entry, Closed):
        attempts.close(m, task, entry.type, entry.reason, entry.error_class)
    else:
        attempts.grant_wish(m, task)


def _recovered(m: Memory, event: events.Recovered) -> None:
    m.is_recovered = True
    m.letters.complete_to = event.seq
    for owner in m.owners:
        m.owners[owner] = m.now
    m.ticked_at = m.checked_at = m.now


def _cancel_requested(m: Memory, event: events.CancelRequested) -> None:
    task = m.tasks.get(event.task_id)
    if task is not None:
        attempts.close(m, task, "cancelled", event.reason or "cancelled on request")


def _pulse_heard(m: Memory, event: events.PulseHeard) -> None:
    if event.orchestrator_id == m.me:
        return
    m.inherited.discard(event.orchestrator_id)
    gone = m.thresholds.owner_silent_s + 1.0 if event.stopping else 0.0
    m.owners[event.orchestrator_id] = m.now - gone


def _link_changed(m: Memory, event: events.LinkChanged) -> None:
    m.is_linked = event.is_up
    health.forgive(m)


def _ticked(m: Memory, _: events.Ticked) -> None:
    health.check(m)
    if m.limits.is_used:
        admission.tick(m)
    for task_id in m.timers.due(m.now):
        task = m.tasks.get(task_id)
        if task is None:
            continue
        if task.hedge_at is not None and hedging.is_time(m, task):
            hedging.look(m, task)
        else:
            attempts.due(m, task)
