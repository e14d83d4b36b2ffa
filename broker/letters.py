"""Messages about dead letters: which ones are meant, how they are shown, what was done with them.

Pure: only shapes and their own consistency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.broker.errors import InvalidTask
from outrider.broker.messages import VERSION
from outrider.broker.subjects import check_name

DEFAULT_LETTERS = 100
MOST_LETTERS = 1_000


@dataclass(frozen=True, slots=True)
class LetterRequest:
    """Which dead letters: body of `<fleet>.dead`, `.requeue` and `.discard`."""

    task_id: str = ""
    """Exactly this one; the filters are for many."""
    all: bool = False
    """Every one that the filters let through; requeue and discard want this or a filter."""
    kind: str = ""
    error_class: str = ""
    older_than_s: float | None = None
    newer_than_s: float | None = None
    dry_run: bool = False
    limit: int = DEFAULT_LETTERS
    before: int | None = None
    """Only those with a lower sequence: the `next_before` of the answer before."""
    reason: str = ""
    v: int = VERSION

    @property
    def has_filter(self) -> bool:
        ages = (self.older_than_s, self.newer_than_s)
        return bool(self.kind or self.error_class) or any(age is not None for age in ages)

    def check(self) -> LetterRequest:
        """The request itself when its fields make sense. Raises InvalidName or InvalidTask."""
        if self.task_id:
            check_name(self.task_id, "task_id")
            if self.has_filter or self.all:
                raise InvalidTask("a task_id and a filter exclude each other")
        if self.kind:
            check_name(self.kind, "kind")
        for name in ("older_than_s", "newer_than_s"):
            age = getattr(self, name)
            if age is not None and age < 0:
                raise InvalidTask(f"{name} {age} is not a number of seconds from 0")
        if not 1 <= self.limit <= MOST_LETTERS:
            raise InvalidTask(f"limit {self.limit} is not between 1 and {MOST_LETTERS}")
        return self

    def check_is_meant(self) -> LetterRequest:
        """As `check`; an empty request must not mean every dead letter there is."""
        if not (self.task_id or self.all or self.has_filter):
            raise InvalidTask(
                "which dead letters?",
                hint='give a task_id, "all": true, or one of kind, error_class, older_than_s, newer_than_s',
            )
        return self.check()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead task as people see it, and what was just done with it."""

    task_id: str
    kind: str
    error_class: str
    reason: str
    attempts: int
    died_at: float
    dead_seq: int
    """Sequence of its `dead` entry in the ledger."""
    requeued_as: str | None = None
    error: dict[str, Any] | None = None
    """Why nothing could be done with it: `code`, `message`, `hint`."""


@dataclass(frozen=True, slots=True)
class LetterList:
    """Answer to `<fleet>.dead`, `.requeue` and `.discard`: newest first."""

    letters: tuple[DeadLetter, ...]
    matched: int
    """How many fit the request, with those that a later page will show."""
    next_before: int | None = None
    """There are more: ask again with this as `before`."""
    unlisted: int = 0
    """Older ones that the orchestrator does not keep in mind; requeue and discard them by id."""
    dry_run: bool = False
    v: int = VERSION
