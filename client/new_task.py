"""A task that is to be submitted, and its envelope: checked and packed as the other side will read it.

Pure but for the random id of a task without a key. Knows nothing of connections.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from outrider.broker.codec import MAX_ENVELOPE_BYTES, dump, encode, load
from outrider.broker.config import LARGEST_OBJECT_BYTES
from outrider.broker.errors import DecodeError, InvalidTask, PayloadTooLarge
from outrider.broker.flows import GroupRef, OnFailure, member_id
from outrider.broker.messages import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, TaskEnvelope, task_id_of_key
from outrider.broker.object_ref import ref_of
from outrider.broker.objects import too_large
from outrider.broker.schema import from_map


class HasTaskId(Protocol):
    """A task in any hands."""

    @property
    def task_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class NewTask:
    """What to do.

    `deadline_s` counts from now, `timeout_s` bounds one attempt, `key` makes repeats harmless. It waits for
    the tasks of `after`, and for all members of `after_group`; `on_failure` says what becomes of it if one of
    those ends without success: `cancel` (the default) or `run`.
    """

    kind: str
    payload: Any = None
    priority: int = DEFAULT_PRIORITY
    deadline_s: float | None = None
    timeout_s: float | None = None
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    requires: Iterable[str] = ()
    key: str | None = None
    limit_key: str | None = None
    """Whose limits it counts against, for example a tenant's."""
    after: Iterable[str | HasTaskId] = ()
    on_failure: OnFailure | str | None = None
    after_group: GroupRef | None = None
    hedge: bool = False
    """It may run on two agents at once, and does when it takes unusually long and a slot is idle."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An envelope beside its bytes; the payload is as it comes out of the bytes."""

    envelope: TaskEnvelope
    data: bytes
    body: bytes = b""
    """A payload too large for the envelope; it must be in the object store first."""
    is_repeat: bool = False
    """It may have been submitted before under the same id."""

    @property
    def task_id(self) -> str:
        return self.envelope.task_id

    @property
    def is_named(self) -> bool:
        """Whether its id was chosen, so that the task may exist already."""
        return self.is_repeat or self.envelope.idempotency_key is not None


@dataclass(frozen=True, slots=True)
class Member:
    """Which member of which group a task shall be."""

    group: GroupRef
    number: int


def pack(
    task: NewTask,
    wall_at: float,
    largest: int = LARGEST_OBJECT_BYTES,
    member: Member | None = None,
    task_id: str = "",
) -> Packed:
    """The task's envelope, submitted at `wall_at`, with `task_id` or a random one.

    A payload over the envelope's limit is left beside it.

    Raises InvalidName, InvalidTask, or PayloadTooLarge over `largest` bytes; what passes can be read by
    everybody.
    """
    if member is not None:
        task_id = member_id(member.group.group, member.number)
    if task_id and task.key is not None:
        raise InvalidTask("a task of a group has its id from the group, not from a key")
    envelope = TaskEnvelope(
        kind=task.kind,
        payload=task.payload,
        task_id=task_id or (secrets.token_hex(16) if task.key is None else task_id_of_key(task.key)),
        priority=task.priority,
        deadline_at=_deadline(task.deadline_s, wall_at),
        timeout_s=task.timeout_s,
        max_attempts=task.max_attempts,
        requires=_labels(task.requires),
        idempotency_key=task.key,
        submitted_at=wall_at,
        limit_key=task.limit_key,
        after=_ids(task.after),
        on_failure=_policy(task.on_failure),
        group=member.group.group if member else None,
        group_size=member.group.size if member else None,
        after_group=task.after_group.group if task.after_group else None,
        after_group_size=task.after_group.size if task.after_group else None,
        hedge=task.hedge or None,
    )
    try:
        data = encode(envelope)
        if len(data) > MAX_ENVELOPE_BYTES:
            return set_apart(envelope, largest)
        as_read = from_map(TaskEnvelope, load(data, MAX_ENVELOPE_BYTES))
    except DecodeError as error:
        raise InvalidTask(f"task cannot be sent: {error}") from None
    return Packed(as_read.check(), data)


def _ids(after: Iterable[str | HasTaskId]) -> tuple[str, ...] | None:
    if isinstance(after, str):
        raise InvalidTask(f"after is a list of tasks, not the text {after!r}")
    return tuple(one if isinstance(one, str) else one.task_id for one in after) or None


def _policy(on_failure: str | None) -> OnFailure | None:
    try:
        return None if on_failure is None else OnFailure(on_failure)
    except ValueError:
        raise InvalidTask(f"on_failure is cancel or run, not {on_failure!r}") from None


def set_apart(envelope: TaskEnvelope, largest: int) -> Packed:
    """The envelope with a reference in place of its payload, and the payload's bytes.

    Raises InvalidTask, DecodeError, or PayloadTooLarge when either is over its limit.
    """
    body = dump(envelope.payload)
    if len(body) > largest:
        raise too_large(len(body), largest)
    load(body, len(body))
    small = replace(envelope, payload=None, payload_ref=ref_of(body)).check()
    data = encode(small)
    if len(data) > MAX_ENVELOPE_BYTES:
        raise PayloadTooLarge(
            f"task of {len(data)} bytes, without its payload, is over the limit of {MAX_ENVELOPE_BYTES} bytes"
        )
    return Packed(small, data, body)


def _deadline(deadline_s: Any, wall_at: float) -> float | None:
    if deadline_s is None:
        return None
    if isinstance(deadline_s, (int, float)) and not isinstance(deadline_s, bool) and deadline_s > 0:
        return float(wall_at + deadline_s)
    raise InvalidTask(f"deadline_s {deadline_s!r} is not a number of seconds above 0")


def _labels(requires: Iterable[str]) -> tuple[str, ...]:
    if isinstance(requires, str):
        raise InvalidTask(f"requires is a list of labels, not the text {requires!r}")
    return tuple(requires)
