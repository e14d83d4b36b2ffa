"""A task's durable state as a fold of its entries; what is not allowed is ignored and counted.

Pure: no clock and no I/O, so that live, replay and tests agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from outrider.broker.messages import AttemptError, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.quick import quickly_made
from outrider.broker.states import ErrorClass, TaskState
from outrider.broker.subjects import LedgerAddress, parse_ledger
from outrider.broker.views import TaskView
from outrider.ledger.entries import Assigned, Blocked, Closed, Ended, Entry, Hedged
from outrider.ledger.pair import LiveAttempt, Pair
from outrider.ledger.rules import ATTEMPT_ENDS, TERMINAL_TYPES, Phase, refusal

MOST_NOTED = 100
"""So many of the newest ignored entries are kept with their reasons."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Record:
    """One stored entry with its place in the ledger. `stored_at` is the server's clock."""

    seq: int
    subject: str
    entry: Entry
    stored_at: float = 0.0


@dataclass(slots=True)
class Story:
    """What the ledger says of one task so far."""

    task_id: str
    phase: Phase = Phase.UNWRITTEN
    epoch: int = 0
    """Sequence of the last allowed entry: the fencing token."""
    expect: int = 0
    """Sequence of the last entry at all: what the next append must expect."""
    attempt: int = 0
    """Of the live attempt; of the first, when two live."""
    begun: int = 0
    """The epoch that its agent was given first."""
    pair: Pair | None = None
    """Once a second agent was asked to run it too."""
    charged: int = 0
    uncharged_in_a_row: int = 0
    lost_on: tuple[str, ...] = ()
    """Agents that died while they ran it, each once."""
    agent_id: str = ""
    owner: str = ""
    """The orchestrator that wrote the task's newest orchestrator entry."""
    envelope: TaskEnvelope | None = None
    envelope_seq: int = 0
    assigned: Assigned | Hedged | None = None
    """What gave the live attempt to its agent."""
    last: Entry | None = None
    outcomes: list[Succeeded | Failed] = field(default_factory=list)
    """What agents recorded, without results."""
    errors: list[AttemptError] = field(default_factory=list)
    first_at: float = 0.0
    last_at: float = 0.0
    ignored: list[str] = field(default_factory=list)

    @property
    def is_terminal(self) -> bool:
        return self.phase is Phase.CLOSED

    @property
    def is_live(self) -> bool:
        return self.phase is Phase.LIVE

    @property
    def newest(self) -> int:
        """Number of the newest attempt."""
        return self.attempt if self.pair is None else self.pair.newest

    @property
    def other(self) -> LiveAttempt | None:
        """The second of two live attempts."""
        return self.pair.other if self.pair is not None and self.is_live else None

    @property
    def live_attempts(self) -> tuple[tuple[int, str], ...]:
        """Number and agent of what lives now, the newest last."""
        if not self.is_live:
            return ()
        first, other = (self.attempt, self.agent_id), self.other
        return (first,) if other is None else (first, (other.attempt, other.agent_id))

    @property
    def live_epochs(self) -> tuple[int, ...]:
        """Every epoch under which an agent may name a live attempt."""
        return self.epochs_of(self.begun) if self.is_live else ()

    def epochs_of(self, begun: int) -> tuple[int, ...]:
        """Every epoch under which an agent may know the attempt that began at `begun`."""
        if self.pair is None:
            return (begun,)
        return tuple(epoch for epoch in self.pair.epochs if epoch >= begun)

    def is_held_by(self, agent_id: str, epoch: int) -> bool:
        """Whether the agent has a live attempt that was ever known by this epoch."""
        other = self.other
        if other is not None and other.agent_id == agent_id:
            return epoch in self.epochs_of(other.begun)
        return self.is_live and self.agent_id == agent_id and epoch in self.epochs_of(self.begun)

    @property
    def state(self) -> TaskState:
        """The durable state; `running` and `queued` after a lost attempt are not stored."""
        if self.phase is Phase.CLOSED and self.last is not None:
            return TaskState(self.last.type)
        return {
            Phase.UNWRITTEN: TaskState.QUEUED,
            Phase.BLOCKED: TaskState.BLOCKED,
            Phase.LIVE: TaskState.ASSIGNED,
        }.get(self.phase, TaskState.BACKING_OFF)

    def apply(self, seq: int, where: LedgerAddress, entry: Entry, stored_at: float = 0.0) -> str | None:
        """Fold one entry in ledger order; returns why it was ignored, or None when it counts."""
        self.expect = max(self.expect, seq)
        if self.pair is None:
            why = refusal(self.phase, self.epoch, self.attempt, self.agent_id, where, entry)
        else:
            why = self._refusal_of_pair(self.pair, where, entry)
        if why is not None:
            self._note(f"{seq}: {why}")
            return why
        self.epoch = seq
        self.last = entry
        self.last_at = stored_at
        self.first_at = self.first_at or stored_at
        if where.role == "orchestrator":
            self.owner = where.writer
        self._fold(seq, entry)
        return None

    def _refusal_of_pair(self, pair: Pair, where: LedgerAddress, entry: Entry) -> str | None:
        other, attempt, agent_id = self.other, self.attempt, self.agent_id
        if isinstance(entry, (Assigned, Hedged)):
            attempt = pair.newest
        elif (
            other is not None and not isinstance(entry, (Blocked, Closed)) and entry.attempt == other.attempt
        ):
            attempt, agent_id = other.attempt, other.agent_id
        return refusal(self.phase, self.epoch, attempt, agent_id, where, entry, is_pair=other is not None)

    def skip(self, seq: int, why: str) -> None:
        """Pass over an entry that cannot be read: it counts for `expect` and for nothing else."""
        self.expect = max(self.expect, seq)
        self._note(f"{seq}: {why}")

    def _note(self, ignored: str) -> None:
        # Whoever writes nonsense without end must not fill the memory of those who read it.
        self.ignored.append(ignored)
        del self.ignored[:-MOST_NOTED]

    def _fold(self, seq: int, entry: Entry) -> None:
        if isinstance(entry, Assigned):
            self.phase, self.attempt, self.agent_id = Phase.LIVE, entry.attempt, entry.agent_id
            self.assigned, self.begun, self.pair = entry, seq, None
            self._keep_envelope(seq, entry.envelope)
            return
        if isinstance(entry, Hedged):
            self._hedge(seq, entry)
            return
        if isinstance(entry, (Blocked, Closed)):
            self._keep_envelope(seq, entry.envelope)
        if isinstance(entry, Blocked):
            self.phase = Phase.BLOCKED
        if isinstance(entry, Succeeded):
            self.outcomes.append(entry.without_result())
            if self.other is not None and entry.attempt != self.attempt:
                self._swap(self.other)
        if entry.type in TERMINAL_TYPES:
            self.phase = Phase.CLOSED
        elif entry.type in ATTEMPT_ENDS:
            self._end_attempt(seq, entry)

    def _hedge(self, seq: int, entry: Hedged) -> None:
        if self.pair is None:
            self.pair = Pair(entry.attempt, [self.begun])
        self.pair.newest = entry.attempt
        self.pair.epochs.append(seq)
        self.pair.other = LiveAttempt(entry.attempt, entry.agent_id, seq, entry)

    def _swap(self, other: LiveAttempt) -> None:
        """Go on as the other of the two."""
        if self.pair is not None and self.assigned is not None:
            self.pair.other = LiveAttempt(self.attempt, self.agent_id, self.begun, self.assigned)
        self.attempt, self.agent_id, self.begun = other.attempt, other.agent_id, other.begun
        self.assigned = other.entry

    def _end_attempt(self, seq: int, entry: Entry) -> None:
        is_counted = self._charge(entry)
        pair, other = self.pair, self.other
        if pair is not None:
            pair.epochs.append(seq)
            pair.is_charged = is_counted = is_counted or pair.is_charged
            if isinstance(entry, Failed) and not entry.error.retryable:
                pair.fatal = entry.error
        if pair is not None and other is not None:
            if isinstance(entry, (Failed, Ended)) and entry.attempt != other.attempt:
                self._swap(other)
            pair.other = None
            return
        self.phase, self.attempt = Phase.BETWEEN, self.newest
        self.charged += is_counted
        self.uncharged_in_a_row = 0 if is_counted else self.uncharged_in_a_row + 1

    def _charge(self, entry: Entry) -> bool:
        """Note what an attempt ended of; tells whether it counts against the task."""
        if isinstance(entry, Failed):
            self.outcomes.append(entry)
            self.errors.append(entry.error)
        is_counted = is_charged(entry)
        if isinstance(entry, Ended) and entry.type == "lost" and is_counted:
            self.lost_on += () if entry.agent_id in self.lost_on else (entry.agent_id,)
        return is_counted

    def _keep_envelope(self, seq: int, envelope: TaskEnvelope | None) -> None:
        if envelope is not None and self.envelope is None:
            self.envelope, self.envelope_seq = envelope, seq

    def view(self) -> TaskView:
        """The task as people see it, as far as the ledger knows it."""
        entry, assigned = self.last, self.assigned
        envelope = self.envelope
        submitted_at = envelope.submitted_at if envelope else None
        service_s = entry.service_s if isinstance(entry, (Succeeded, Failed)) else None
        return TaskView(
            task_id=self.task_id,
            kind=assigned.kind if assigned else (envelope.kind if envelope else _kind_of(entry)),
            state=self.state,
            agent=(self.agent_id if self.other is None else self.other.agent_id) or None,
            attempts=self.newest,
            predicted_s=assigned.p50_s if assigned else None,
            p90_s=assigned.p90_s if assigned else None,
            waiting_s=assigned.waiting_s if assigned else None,
            service_s=service_s,
            sojourn_s=max(0.0, self.last_at - submitted_at) if self.is_terminal and submitted_at else None,
            result=entry.result if isinstance(entry, Succeeded) else None,
            error=_error_of(entry, self.errors),
            priority=assigned.priority if assigned else (envelope.priority if envelope else 5),
            submitted_at=submitted_at,
            reason=assigned.reason.value if assigned else None,
            model=assigned.model or None if assigned else None,
            payload_ref=envelope.payload_ref if envelope else None,
            result_ref=entry.result_ref if isinstance(entry, Succeeded) else None,
            requeued_from=envelope.requeued_from if envelope else None,
            after=envelope.after if envelope else None,
            after_group=envelope.after_group if envelope else None,
            group=envelope.group if envelope else None,
            limit_key=envelope.limit_key if envelope else None,
        )


def is_charged(entry: Entry) -> bool:
    """Whether the end of an attempt counts against the task; that its agent was stopped does not,
    nor that a provider turned it away until later.
    """
    if isinstance(entry, Failed):
        return entry.error.error_class is not ErrorClass.INTERRUPTED and not entry.is_refused
    return not isinstance(entry, Ended) or entry.charged


def _kind_of(entry: Entry | None) -> str:
    return entry.kind if isinstance(entry, (Blocked, Closed)) else ""


def _error_of(entry: Entry | None, errors: list[AttemptError]) -> dict[str, object] | None:
    if entry is None or isinstance(entry, (Succeeded, Assigned, Hedged, Blocked)):
        return None
    last = errors[-1] if errors else None
    if isinstance(entry, Closed):
        code = entry.error_class or (last.error_class.value if last else entry.type)
        return {"code": code, "message": entry.reason or (last.message if last else ""), "hint": ""}
    if isinstance(entry, Failed):
        return {"code": entry.error.error_class.value, "message": entry.error.message, "hint": ""}
    return {"code": entry.type, "message": entry.why, "hint": ""}


def fold_story(task_id: str, records: Iterable[Record]) -> Story:
    """The story of one task from its records in ledger order."""
    story = Story(task_id)
    for record in records:
        story.apply(record.seq, parse_ledger(record.subject), record.entry, record.stored_at)
    return story
