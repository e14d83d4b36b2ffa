"""The states of tasks and agents and the closed set of error classes: one word for each, everywhere.

Pure: names only.
"""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task is in its life."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    ASSIGNED = "assigned"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.DEAD, TaskState.CANCELLED, TaskState.EXPIRED})


class AgentState(StrEnum):
    """What an operator sees of an agent."""

    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"
    DRAINING = "draining"
    COOLING_DOWN = "cooling_down"


class ErrorClass(StrEnum):
    """Why an attempt failed: a closed set, so that retry rules can be read off it."""

    INVALID_INPUT = "invalid_input"
    UNAUTHORIZED = "unauthorized"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    PROVIDER = "provider"
    BAD_OUTPUT = "bad_output"
    TOO_LARGE = "too_large"
    INTERRUPTED = "interrupted"
    HANDLER = "handler"
    MALFORMED = "malformed"
    POISON = "poison"


RETRYABLE = frozenset(
    {
        ErrorClass.RATE_LIMITED,
        ErrorClass.TIMEOUT,
        ErrorClass.CONNECTION,
        ErrorClass.PROVIDER,
        ErrorClass.BAD_OUTPUT,
        ErrorClass.INTERRUPTED,
        ErrorClass.HANDLER,
    }
)
