"""A task that is to be submitted, and its envelope: checked and packed as the other side will read it.

Pure but for the random id of a task without a key. Knows nothing of connections.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from outrider.broker.codec import MAX_ENVELOPE_BYTES, dump, encode, load
from outrider.broker.config import LARGEST_OBJECT_BYTES
from outrider.broker.errors import DecodeError, InvalidTask, PayloadTooLarge
from outrider.broker.messages import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, TaskEnvelope, task_id_of_key
from outrider.broker.object_ref import ref_of
from outrider.broker.objects import too_large
from outrider.broker.schema import from_map


@dataclass(frozen=True, slots=True)
class NewTask:
    """What to do.

    `deadline_s` counts from now, `timeout_s` bounds one attempt, `key` makes repeats harmless.
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


@dataclass(frozen=True, slots=True)
class Packed:
    """An envelope beside its bytes; the payload is as it comes out of the bytes."""

    envelope: TaskEnvelope
    data: bytes
    body: bytes = b""
    """A payload too large for the envelope; it must be in the object store first."""

    @property
    def task_id(self) -> str:
        return self.envelope.task_id


def pack(task: NewTask, wall_at: float, largest: int = LARGEST_OBJECT_BYTES) -> Packed:
    """The task's envelope, submitted at `wall_at`; a payload over the envelope's limit is left beside it.

    Raises InvalidName, InvalidTask, or PayloadTooLarge over `largest` bytes; what passes can be read by
    everybody.
    """
    envelope = TaskEnvelope(
        kind=task.kind,
        payload=task.payload,
        task_id=secrets.token_hex(16) if task.key is None else task_id_of_key(task.key),
        priority=task.priority,
        deadline_at=_deadline(task.deadline_s, wall_at),
        timeout_s=task.timeout_s,
        max_attempts=task.max_attempts,
        requires=_labels(task.requires),
        idempotency_key=task.key,
        submitted_at=wall_at,
        limit_key=task.limit_key,
    )
    try:
        data = encode(envelope)
        if len(data) > MAX_ENVELOPE_BYTES:
            return set_apart(envelope, largest)
        as_read = from_map(TaskEnvelope, load(data, MAX_ENVELOPE_BYTES))
    except DecodeError as error:
        raise InvalidTask(f"task cannot be sent: {error}") from None
    return Packed(as_read.check(), data)


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
