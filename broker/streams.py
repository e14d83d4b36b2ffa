"""The streams as data, and `ensure_streams`, which creates what lacks, reports drift and destroys nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import StreamDrift
from outrider.broker.stream_limits import GIB, StreamLimits
from outrider.broker.subjects import Subjects

__all__ = [
    "GIB",
    "StreamLimits",
    "drift",
    "ensure_streams",
    "ensure_task_consumer",
    "other_bounds",
    "stream_definitions",
]

log = logging.getLogger(__name__)

NOT_FOUND = 10059
NAME_IN_USE = 10058
NO_ROOM = 10047
LEAST_BYTES = 64 * 1024 * 1024
SECOND = 1_000_000_000


def stream_definitions(subjects: Subjects, limits: StreamLimits) -> list[dict[str, Any]]:
    """The wanted configuration of every stream, in the server's own field names."""
    fleet, replicas = subjects.fleet, limits.replicas
    common = {"storage": "file", "num_replicas": replicas, "allow_direct": True}
    return [
        common
        | {
            "name": subjects.tasks_stream,
            "description": "tasks that wait; acked when their first assignment is in the ledger",
            "subjects": [subjects.all_tasks],
            "retention": "workqueue",
            "discard": "new",
            "max_msgs": limits.tasks_messages,
            "max_bytes": limits.tasks_bytes,
            "duplicate_window": 2 * 60 * SECOND,
        },
        common
        | {
            "name": subjects.ledger_stream,
            "description": "every durable fact, in order",
            "subjects": [subjects.all_ledger, subjects.all_members, subjects.all_control],
            "retention": "limits",
            "discard": "new",
            "max_bytes": limits.ledger_bytes,
            "max_age": limits.ledger_age_s * SECOND,
            "deny_delete": True,
            "deny_purge": True,
            "republish": {"src": subjects.all_ledger, "dest": f"{fleet}.live.>"},
        },
        common
        | {
            "name": subjects.chunks_stream,
            "description": "partial output, for a short time",
            "subjects": [subjects.all_chunks],
            "retention": "limits",
            "discard": "old",
            "max_bytes": limits.chunks_bytes,
            "max_age": limits.chunks_age_s * SECOND,
        },
        common
        | {
            "name": subjects.objects_stream,
            "description": "payloads and results too large for a message, by hash",
            "subjects": [f"$O.{subjects.objects_bucket}.C.>", f"$O.{subjects.objects_bucket}.M.>"],
            "retention": "limits",
            "discard": "new",
            "max_bytes": limits.payloads_bytes,
            "max_age": limits.payloads_age_s * SECOND,
            "allow_rollup_hdrs": True,
        },
        # A stream with schedules cannot refuse when full, so it has no bound: `submit` counts for it.
        common
        | {
            "name": subjects.later_stream,
            "description": "schedules, and tasks whose time has come",
            "subjects": [subjects.all_later, subjects.all_due],
            "retention": "workqueue",
            "discard": "old",
            "max_bytes": -1,
            "allow_msg_schedules": True,
            "allow_rollup_hdrs": True,
        },
        common
        | {
            "name": subjects.keys_stream,
            "description": "what unique and debounced tasks stand for now",
            "subjects": [subjects.all_keys],
            "retention": "limits",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "max_bytes": limits.keys_bytes,
            "max_age": limits.ledger_age_s * SECOND,
        },
        common
        | {
            "name": subjects.limits_stream,
            "description": "the limits that operators set, the last word on each; they do not age",
            "subjects": [subjects.all_limits],
            "retention": "limits",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "max_bytes": limits.limits_bytes,
        },
    ]


FIXED = (
    "subjects",
    "retention",
    "storage",
    "discard",
    "deny_delete",
    "deny_purge",
    "allow_direct",
    "allow_rollup_hdrs",
    "republish",
    "allow_msg_schedules",
)


BOUNDS = ("max_msgs", "max_bytes", "max_age", "num_replicas")


def drift(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Settings that Outrider relies on and that differ; limits may be chosen by the operator."""
    different = []
    for name in FIXED:
        want, have = wanted.get(name), found.get(name)
        if isinstance(want, dict) and isinstance(have, dict):
            have = {key: have.get(key) for key in want}
        if isinstance(want, list) and isinstance(have, list):
            want, have = sorted(want), sorted(have)
        if (want or None) != (have or None):
            different.append(f"{name} is {have!r}, wanted {want!r}")
    return different


def other_bounds(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Bounds that differ from the settings: chosen by an operator, or made while the disk was smaller."""
    pairs = ((name, wanted[name], found.get(name)) for name in BOUNDS if name in wanted)
    return [f"{name} is {have}, the settings say {want}" for name, want, have in pairs if want != have]


async def ensure_streams(
    connection: Connection, subjects: Subjects, limits: StreamLimits | None = None
) -> None:
    """Create the streams that lack and check those that exist.

    Raises StreamDrift that names each difference; an existing stream is never changed or removed.
    """
    # The largest first: where room is short, each takes about half of what is left.
    definitions = stream_definitions(subjects, limits or StreamLimits())
    for wanted in sorted(definitions, key=lambda d: -int(d["max_bytes"])):
        found = await _find_or_create(connection, wanted)
        different = drift(wanted, found)
        if different:
            raise StreamDrift(f"stream {wanted['name']}: " + "; ".join(different))


async def create_if_missing(connection: Connection, wanted: dict[str, Any]) -> None:
    """Create one stream that is not among the fleet's three. Raises ApiError."""
    await _find_or_create(connection, wanted)


async def _find_or_create(connection: Connection, wanted: dict[str, Any]) -> dict[str, Any]:
    name = wanted["name"]
    for what, body in ((f"STREAM.INFO.{name}", None), (f"STREAM.CREATE.{name}", wanted)):
        try:
            return _config(await (connection.api(what) if body is None else _create(connection, what, body)))
        except ApiError as error:
            if error.err_code not in (NOT_FOUND, NAME_IN_USE):
                raise
    return _config(await connection.api(f"STREAM.INFO.{name}"))


async def _create(connection: Connection, what: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Create a stream with the largest bound there is room for, since the server reserves `max_bytes`.

    Where it cannot reserve even the least, the server's own limit is the bound.
    """
    size = int(wanted["max_bytes"])
    while True:
        try:
            return await connection.api(what, wanted | {"max_bytes": size})
        except ApiError as error:
            if error.err_code != NO_ROOM or size < 0:
                raise
        size = max(size * 3 // 5, LEAST_BYTES) if size > LEAST_BYTES else -1
        log.warning("%s: NATS has less room than wanted, trying %d bytes", wanted["name"], size)


def _config(answer: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = answer["config"]
    return config


DUE_CONSUMER = "due"


async def ensure_due_consumer(connection: Connection, subjects: Subjects) -> str:
    """The durable pull consumer of all tasks whose time has come; returns its name."""
    bounds = {"ack_wait": 30 * SECOND, "max_ack_pending": 10_000}
    await _ensure_puller(connection, subjects.later_stream, DUE_CONSUMER, subjects.all_due, bounds)
    return DUE_CONSUMER


async def ensure_task_consumer(connection: Connection, subjects: Subjects, kind: str, priority: int) -> str:
    """The durable pull consumer of one kind and priority, made on first use; returns its name."""
    name = subjects.consumer(kind, priority)
    bounds = {"ack_wait": 6 * SECOND, "max_ack_pending": 100_000}
    await _ensure_puller(connection, subjects.tasks_stream, name, subjects.tasks_of(kind, priority), bounds)
    return name


async def _ensure_puller(
    connection: Connection, stream: str, name: str, only: str, bounds: Mapping[str, int]
) -> None:
    config = {
        "name": name,
        "durable_name": name,
        "filter_subject": only,
        "ack_policy": "explicit",
        "max_deliver": -1,
        "max_waiting": 512,
        "deliver_policy": "all",
        "replay_policy": "instant",
        **bounds,
    }
    await connection.api(f"CONSUMER.CREATE.{stream}.{name}.{only}", {"stream_name": stream, "config": config})
