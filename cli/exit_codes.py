"""The exit code of every way a command can end: design section 8, in one place.

Pure; the order of the table matters, the first class that fits decides.
"""

from __future__ import annotations

from outrider.broker.config import BadSettings
from outrider.broker.errors import (
    AgentNotFound,
    IdempotencyConflict,
    InvalidLimit,
    InvalidName,
    InvalidTask,
    NatsUnavailable,
    NobodyAnswers,
    NotPermitted,
    ObjectMissing,
    OutcomeUnknown,
    OutriderError,
    PayloadTooLarge,
    QueueFull,
    Refused,
    ServerNotFound,
    TaskCancelled,
    TaskDead,
    TaskExpired,
    TaskNotFound,
    TimedOut,
    UnknownKind,
    WrongCredentials,
)

OK = 0
FAILURE = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
DEAD = 10
CANCELLED = 11
EXPIRED = 12
UNAVAILABLE = 69
TIMED_OUT = 124
INTERRUPTED = 130


class UsageError(OutriderError):
    """The command line cannot be understood."""

    code = "usage"


class PartFailed(OutriderError):
    """A part that was started here ended by itself; `status` is its exit code."""

    code = "part_failed"

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


TABLE: tuple[tuple[type[OutriderError], int], ...] = (
    (TaskDead, DEAD),
    (TaskCancelled, CANCELLED),
    (TaskExpired, EXPIRED),
    (UsageError, USAGE),
    (InvalidName, USAGE),
    (InvalidTask, USAGE),
    (InvalidLimit, USAGE),
    (BadSettings, USAGE),
    (TaskNotFound, NOT_FOUND),
    (AgentNotFound, NOT_FOUND),
    (ObjectMissing, NOT_FOUND),
    (UnknownKind, REFUSED),
    (PayloadTooLarge, REFUSED),
    (QueueFull, REFUSED),
    (IdempotencyConflict, REFUSED),
    (Refused, REFUSED),
    (NotPermitted, REFUSED),
    (WrongCredentials, UNAVAILABLE),
    (NatsUnavailable, UNAVAILABLE),
    (NobodyAnswers, UNAVAILABLE),
    (OutcomeUnknown, UNAVAILABLE),
    (ServerNotFound, UNAVAILABLE),
    (TimedOut, TIMED_OUT),
)


def exit_code(error: OutriderError) -> int:
    """The documented exit code of a command that ends with this error."""
    if isinstance(error, PartFailed):
        return error.status if 0 < error.status < 126 else FAILURE
    return next((code for kind, code in TABLE if isinstance(error, kind)), FAILURE)
