"""Task and ledger objects as pages and REST show them: plain maps, ready for JSON.

Pure: shapes only, no clock and no I/O.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from outrider.broker.estimates import Estimate
from outrider.broker.messages import TaskEnvelope
from outrider.broker.outcomes import Succeeded
from outrider.broker.schema import to_map
from outrider.broker.states import TaskState
from outrider.broker.subjects import parse_ledger
from outrider.broker.views import TaskView, unstarted
from outrider.ledger.entries import Assigned, Blocked, Closed, Entry
from outrider.ledger.fold import Record, Story

Row = dict[str, Any]

TASK_FIELDS = (
    "task_id", "kind", "state", "agent", "attempts", "predicted_s", "p90_s", "waiting_s", "service_s",
    "sojourn_s", "result", "error", "priority", "submitted_at", "reason", "model",
)  # fmt: skip
RARE = (
    "payload_ref", "result_ref", "requeued_from", "run_at", "after", "after_group", "group", "limit_key",
    "waits_for",
)  # fmt: skip
"""Absent where there is nothing to say."""
UNSTARTED = dict.fromkeys(("assigned_at", "finish_s", "deadline_at", "finished_at")) | {"seq": 0}
ESTIMATE_NULLS = ("p50_s", "p90_s", "waiting_s", "service_s", "agent", "can_meet", "deadline_s", "warning")
MOST_ERROR_CHARS = 300


def lighten(entry: Entry) -> Entry:
    """The entry without what may be large; the ledger still has it."""
    if isinstance(entry, Assigned):
        return replace(entry, envelope=_without_payload(entry.envelope), candidates=(), passed_over=None)
    if isinstance(entry, (Blocked, Closed)):
        return replace(entry, envelope=_without_payload(entry.envelope))
    return replace(entry, result=None) if isinstance(entry, Succeeded) else entry


def _without_payload(envelope: TaskEnvelope | None) -> TaskEnvelope | None:
    return replace(envelope, payload=None) if envelope is not None else None


def task_object(view: TaskView) -> Row:
    """A task with every field of design section 8, the unknown ones as None."""
    found = to_map(view)
    return {name: found.get(name) for name in TASK_FIELDS} | {n: found[n] for n in RARE if n in found}


def story_object(story: Story, is_running: bool = False) -> Row:
    """A task as far as the ledger and the beats know it."""
    row = task_object(story.view())
    if is_running and story.is_live:
        row["state"] = TaskState.RUNNING.value
    assigned, envelope = story.assigned, story.envelope
    row["assigned_at"] = assigned.at if assigned else None
    row["finish_s"] = assigned.finish_s if assigned else None
    row["deadline_at"] = envelope.deadline_at if envelope else None
    row["finished_at"] = story.last_at if story.is_terminal else None
    row["seq"] = story.expect
    return row


def list_object(story: Story, is_running: bool = False) -> Row:
    """The same for a list: no result, and no more of an error than a line."""
    row = story_object(story, is_running)
    row.pop("result")
    if row["error"] is not None:
        row["error"] = {**row["error"], "message": str(row["error"]["message"])[:MOST_ERROR_CHARS]}
    return row


def waiting_object(envelope: TaskEnvelope, stored_at: float) -> Row:
    """A task that waits in TASKS and that the ledger does not know yet."""
    view = unstarted(envelope, TaskState.QUEUED, submitted_at=stored_at)
    return task_object(view) | UNSTARTED | {"deadline_at": envelope.deadline_at}


def scheduled_object(view: TaskView, envelope: TaskEnvelope) -> Row:
    """A task that starts later, with its payload."""
    more = {"deadline_at": envelope.deadline_at, "payload": envelope.payload}
    return task_object(view) | UNSTARTED | more


def iso_time(at: float) -> str:
    """UTC in ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_object(record: Record, ignored: str | None) -> Row:
    """One ledger entry of a story; `ignored` says why the fold left it out."""
    where = parse_ledger(record.subject)
    return {
        "seq": record.seq,
        "time": iso_time(record.stored_at),
        "at": record.stored_at,
        "subject": record.subject,
        "role": where.role,
        "writer": where.writer,
        "type": record.entry.type,
        "ignored": ignored,
        "entry": to_map(record.entry),
    }


def brief_event(record: Record, ignored: str | None) -> Row:
    """The same without payload and result, for those who have the task beside it."""
    event = event_object(record, ignored)
    entry = {name: value for name, value in event["entry"].items() if name not in ("envelope", "result")}
    return event | {"entry": entry}


def estimate_object(found: Estimate) -> Row:
    """An estimate as JSON; what is not known is null."""
    return dict.fromkeys(ESTIMATE_NULLS) | to_map(found)
