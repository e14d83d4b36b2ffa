"""What operators decided, as the core sees it: pauses and dead letters that are dealt with.

Pure functions over Memory.
"""

from __future__ import annotations

from outrider.ledger.control import PAUSE_TYPES
from outrider.ledger.entries import Closed
from outrider.ledger.fold import Record
from outrider.orchestrator.events import ControlStored
from outrider.orchestrator.instructions import Announce
from outrider.orchestrator.letters import letter_of
from outrider.orchestrator.model import Memory, TaskRecord


def control_stored(m: Memory, event: ControlStored) -> None:
    """Fold one decision; the same one again changes nothing."""
    if event.control.type in PAUSE_TYPES:
        m.pauses.apply(event.seq, event.control)
    else:
        m.letters.settle(event.control)
    m.out.append(Announce(folded(event.seq), event.control.type))


def folded(seq: int) -> str:
    """What is announced once the control entry at `seq` is acted on; no task can have such an id."""
    return f"control entry {seq}"


def died(m: Memory, task: TaskRecord, entry: Closed) -> None:
    """A task of ours or another's is dead: keep where its letter is."""
    if entry.type == "dead":
        m.letters.add(letter_of(entry, task.story.epoch, task.kind, task.story.attempt, m.now))


def died_unseen(m: Memory, record: Record, at: float) -> None:
    """A task that was never in memory, or that is over for us already, has a terminal entry."""
    entry = record.entry
    if isinstance(entry, Closed) and entry.type == "dead" and ".orchestrator." in record.subject:
        m.letters.add(letter_of(entry, record.seq, entry.kind, 0, at))
