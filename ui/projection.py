"""What the pages show: a fold of the ledger, the beats and the queue counts, bounded whatever the history.

Pure: no I/O and no clock. It keeps live tasks and the newest finished ones, without payloads and results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from outrider.broker.messages import Heartbeat
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.schema import to_map
from outrider.broker.subjects import parse_ledger
from outrider.broker.views import AgentList
from outrider.ledger.entries import Assigned, Hedged, Member
from outrider.ledger.fold import Record, Story
from outrider.ledger.rules import ATTEMPT_ENDS, Phase
from outrider.ui.rates import Rates, Sample
from outrider.ui.roster import Roster
from outrider.ui.rows import Row, lighten, list_object
from outrider.ui.tally import Tally

MOST_FINISHED = 5_000
MOST_TORN = 1_000
WINDOW = 100


@dataclass(slots=True)
class LiveTask:
    """A task that has not reached its terminal entry."""

    story: Story
    first_seq: int
    is_running: bool = False
    row: Row | None = None

    def as_row(self) -> Row:
        if self.row is None:
            self.row = list_object(self.story, self.is_running) | {"first_seq": self.first_seq}
        return self.row


@dataclass(frozen=True, slots=True)
class Queue:
    """How many tasks of one kind and priority wait. The kind is empty where it is not known."""

    kind: str
    priority: int
    waiting: int


class Projection:
    """The state behind the pages."""

    def __init__(self, most_finished: int = MOST_FINISHED) -> None:
        self.live: dict[str, LiveTask] = {}
        self.finished: dict[str, Row] = {}
        self.roster = Roster()
        self.rates = Rates()
        self.tally = Tally()
        self.queues: tuple[Queue, ...] = ()
        self.waiting = 0
        self.last_seq = 0
        self.last_stored_at = 0.0
        self.torn: dict[str, None] = {}
        """Tasks whose story began before what was read: their whole story is wanted."""
        self._most_finished = most_finished
        self._by_epoch: dict[int, str] = {}

    def entry(self, record: Record) -> None:
        """Fold one ledger entry, in ledger order."""
        self.last_seq, self.last_stored_at = record.seq, record.stored_at
        task_id = record.entry.task_id
        task = self.live.get(task_id)
        if task is None:
            if task_id in self.finished:
                self.tally.ignored += 1
                return
            if record.entry.epoch:
                self._want_whole(task_id)
                return
            task = LiveTask(Story(task_id), record.seq)
        self._apply(task, record)

    def _want_whole(self, task_id: str) -> None:
        if len(self.torn) < MOST_TORN:
            self.torn[task_id] = None

    def _apply(self, task: LiveTask, record: Record) -> None:
        story = task.story
        if record.seq <= story.expect:
            return
        agents_before, epochs_before = story.live_attempts, story.live_epochs
        ignored = story.apply(
            record.seq, parse_ledger(record.subject), lighten(record.entry), record.stored_at
        )
        task.row = None
        if ignored is not None:
            self.tally.ignored += 1
            del story.ignored[:-10]
        if story.phase is Phase.UNWRITTEN:
            return
        self.live[story.task_id] = task
        if ignored is None:
            self._move(task, agents_before, epochs_before)
            self._count(task)

    def _move(
        self, task: LiveTask, agents_before: tuple[tuple[int, str], ...], epochs_before: tuple[int, ...]
    ) -> None:
        story = task.story
        for epoch in epochs_before:
            self._by_epoch.pop(epoch, None)
        for _, agent_id in agents_before:
            self.roster.in_flight(agent_id, -1)
        for epoch in story.live_epochs:
            self._by_epoch[epoch] = story.task_id
        for _, agent_id in story.live_attempts:
            self.roster.in_flight(agent_id, +1)
        # One that goes on beside or after another is known to run.
        task.is_running = task.is_running and story.is_live and story.pair is not None

    def _count(self, task: LiveTask) -> None:
        story, entry = task.story, task.story.last
        kind = _kind_of(story)
        if isinstance(entry, (Assigned, Hedged)):
            self.tally.decided(entry)
        elif isinstance(entry, (Succeeded, Failed)):
            self.tally.attempt_ended(kind, entry.type, entry.service_s)
            if isinstance(entry, Succeeded):
                self.tally.calibration.ended(story.assigned, entry.service_s)
        elif entry is not None and entry.type in ATTEMPT_ENDS:
            self.tally.attempt_ended(kind, entry.type, None)
        if story.is_terminal:
            row = self._finish(task)
            self.tally.task_finished(kind, row["state"], row["sojourn_s"])
            self.rates.finished(_sample(row))

    def _finish(self, task: LiveTask) -> Row:
        task.row = None
        row = self.finished[task.story.task_id] = task.as_row()
        self.live.pop(task.story.task_id, None)
        while len(self.finished) > self._most_finished:
            del self.finished[next(iter(self.finished))]
        return row

    def whole(self, task_id: str, records: Iterable[Record]) -> None:
        """The whole story of a torn task, read from the ledger; it is shown, not counted."""
        if task_id in self.live or task_id in self.finished:
            return
        task: LiveTask | None = None
        for record in records:
            task = task or LiveTask(Story(task_id), record.seq)
            task.story.apply(
                record.seq, parse_ledger(record.subject), lighten(record.entry), record.stored_at
            )
        if task is None or task.story.phase is Phase.UNWRITTEN:
            return
        if task.story.is_terminal:
            self._finish(task)
            return
        self.live[task_id] = task
        self._move(task, (), ())

    def member(self, seq: int, entry: Member, stored_at: float) -> None:
        """A ledger entry about an agent."""
        self.last_seq, self.last_stored_at = seq, stored_at
        self.roster.member(entry, stored_at)

    def beat(self, beat: Heartbeat, now: float) -> list[int]:
        """A heartbeat; returns the epochs it names that no known task has."""
        self.roster.beat(beat, now)
        unknown = []
        for epoch in beat.running:
            task_id = self._by_epoch.get(epoch)
            if task_id is not None:
                self.runs(task_id)
            elif epoch <= self.last_seq:
                unknown.append(epoch)
        return unknown

    def runs(self, task_id: str) -> None:
        """A sign that the live attempt of this task is running."""
        task = self.live.get(task_id)
        if task is not None and task.story.is_live and not task.is_running:
            task.is_running, task.row = True, None

    def agents(self, answer: AgentList, now: float) -> None:
        """The orchestrator's list of agents."""
        self.roster.listing(answer, now)

    def queued(self, queues: tuple[Queue, ...], total: int) -> None:
        """How many tasks wait, by kind and priority and in all."""
        self.queues, self.waiting = queues, total

    def row(self, task_id: str) -> Row | None:
        """One task, if it is live or among the newest finished ones."""
        task = self.live.get(task_id)
        return task.as_row() if task is not None else self.finished.get(task_id)

    def rows(self) -> Iterator[Row]:
        """Every known task."""
        for task in self.live.values():
            yield task.as_row()
        yield from self.finished.values()

    def window(self) -> dict[str, Row]:
        """The newest live and the newest finished tasks, which the dashboard follows."""
        finished = islice(reversed(self.finished.items()), WINDOW)
        live = {task_id: task.as_row() for task_id, task in islice(reversed(self.live.items()), WINDOW)}
        return dict(finished) | live

    def stats(self, now: float) -> dict[str, Any]:
        """The numbers of this moment."""
        agents = self.roster.rows.values()
        serving = [row for row in agents if row["state"] != "offline"]
        return {
            "at": now,
            "waiting": self.waiting,
            "queues": [{"kind": q.kind, "priority": q.priority, "waiting": q.waiting} for q in self.queues],
            "in_flight": sum(row["in_flight"] for row in agents),
            "slots": sum(row["slots"] for row in serving),
            "agents": len(self.roster.rows),
            "agents_online": sum(row["state"] == "online" for row in agents),
            "kinds": sorted(self.roster.kinds),
            "paused": list(self.roster.paused),
            "finished_per_s": self.rates.average(now),
            "orchestrator_seen_at": self.roster.listed_at,
            "calibration": to_map(self.tally.calibration.coverage()),
        } | self.rates.latency(now)


def _kind_of(story: Story) -> str:
    if story.assigned is not None:
        return story.assigned.kind
    return story.envelope.kind if story.envelope is not None else story.view().kind


def _sample(row: Row) -> Sample:
    predicted, service = row["predicted_s"], row["service_s"]
    ratio = service / predicted if row["state"] == "succeeded" and predicted and service is not None else None
    return Sample(row["finished_at"], row["sojourn_s"], row["waiting_s"], service, ratio)
