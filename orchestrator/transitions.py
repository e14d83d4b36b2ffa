"""The life of a task in an orchestrator's memory as one table; whatever is not in it is an error.

Pure. The names of the phases follow the task states of design section 1; `held` is a queued task
whose message this orchestrator holds, `routing` one that the router is asked about.
"""

from __future__ import annotations

from enum import StrEnum

from outrider.broker.errors import OutriderError
from outrider.broker.states import TaskState


class TaskPhase(StrEnum):
    """Where a task is in this orchestrator's memory."""

    BLOCKED = "blocked"
    HELD = "held"
    ROUTING = "routing"
    ASSIGNING = "assigning"
    ASSIGNED = "assigned"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    CLOSED = "closed"


class Trigger(StrEnum):
    """What moves a task on."""

    UNBLOCKED = "unblocked"
    PICKED = "picked"
    PUT_BACK = "put_back"
    CHOSEN = "chosen"
    STORED = "stored"
    NOT_STORED = "not_stored"
    ACCEPTED = "accepted"
    ATTEMPT_ENDED = "attempt_ended"
    RETRY_DUE = "retry_due"
    HANDED_OVER = "handed_over"
    """The first of two attempts ended, and the second is the only one now."""
    CLOSED = "closed"


P, T = TaskPhase, Trigger

TRANSITIONS: dict[TaskPhase, dict[Trigger, TaskPhase]] = {
    P.BLOCKED: {T.UNBLOCKED: P.HELD, T.CLOSED: P.CLOSED},
    P.HELD: {T.PICKED: P.ROUTING, T.CLOSED: P.CLOSED},
    P.ROUTING: {T.PUT_BACK: P.HELD, T.CHOSEN: P.ASSIGNING, T.CLOSED: P.CLOSED},
    P.ASSIGNING: {T.STORED: P.ASSIGNED, T.NOT_STORED: P.HELD, T.CLOSED: P.CLOSED},
    P.ASSIGNED: {
        T.ACCEPTED: P.RUNNING,
        T.HANDED_OVER: P.ASSIGNED,
        T.ATTEMPT_ENDED: P.BACKING_OFF,
        T.CLOSED: P.CLOSED,
    },
    P.RUNNING: {
        T.ACCEPTED: P.RUNNING,
        T.HANDED_OVER: P.ASSIGNED,
        T.ATTEMPT_ENDED: P.BACKING_OFF,
        T.CLOSED: P.CLOSED,
    },
    P.BACKING_OFF: {T.RETRY_DUE: P.HELD, T.CLOSED: P.CLOSED},
    P.CLOSED: {},
}

LIVE = frozenset({P.ASSIGNED, P.RUNNING})

SHOWN_AS = {
    P.BLOCKED: TaskState.BLOCKED,
    P.HELD: TaskState.QUEUED,
    P.ROUTING: TaskState.QUEUED,
    P.ASSIGNING: TaskState.QUEUED,
    P.ASSIGNED: TaskState.ASSIGNED,
    P.RUNNING: TaskState.RUNNING,
    P.BACKING_OFF: TaskState.BACKING_OFF,
}


class InvalidTransition(OutriderError):
    """A task was asked to make a move that its life does not have."""

    code = "invalid_transition"

    def __init__(self, task_id: str, phase: TaskPhase, trigger: Trigger, story: object) -> None:
        super().__init__(
            f"task {task_id} is {phase.value} and cannot be {trigger.value}; its story: {story!r}"
        )


def next_phase(task_id: str, phase: TaskPhase, trigger: Trigger, story: object) -> TaskPhase:
    """The phase after `trigger`. Raises InvalidTransition that carries the task's story."""
    try:
        return TRANSITIONS[phase][trigger]
    except KeyError:
        raise InvalidTransition(task_id, phase, trigger, story) from None
