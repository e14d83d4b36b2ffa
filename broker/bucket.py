"""A bucket of named objects in JetStream, in the layout of the NATS object store (`nats object ls`).

Knows no object's meaning. Why not nats-py's store: its `get` makes an ordered consumer a call, and its
deleted objects leave a trace each for ever.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import DecodeError, NobodyAnswers
from outrider.broker.follower import StreamReader
from outrider.broker.pipeline import Appender
from outrider.broker.streams import NOT_FOUND, create_if_missing

CHUNK_BYTES = 128 * 1024
AT_ONCE = 16
"""Chunks asked for in one request."""
ROLLUP = {"Nats-Rollup": "sub"}


class BrokenObject(DecodeError):
    """An object is not what was put."""


class Bucket:
    """Objects by name. A name that is put again replaces what it held."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.stream = f"OBJ_{name}"
        self._name = name
        self._connection = connection
        self._reader = StreamReader(connection, self.stream)

    async def create(self, max_bytes: int, replicas: int = 1, also: Sequence[str] = ()) -> None:
        """Make the bucket if it lacks; its stream keeps the subjects `also` too. Raises ApiError."""
        await create_if_missing(
            self._connection,
            {
                "name": self.stream,
                "subjects": [f"$O.{self._name}.C.>", f"$O.{self._name}.M.>", *also],
                "storage": "file",
                "num_replicas": replicas,
                "discard": "new",
                "allow_rollup_hdrs": True,
                "allow_direct": True,
                "max_bytes": max_bytes,
            },
        )

    async def put(self, appender: Appender, name: str, data: bytes) -> None:
        """Store an object; it is there once all of it is. Raises QueueFull or OutcomeUnknown."""
        before = await self._about(name)
        nuid = uuid.uuid4().hex
        pieces = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        for piece in pieces:
            await appender.append(f"$O.{self._name}.C.{nuid}", piece)
        about = {
            "name": name,
            "bucket": self._name,
            "nuid": nuid,
            "size": len(data),
            "chunks": len(pieces),
            "digest": _digest(data),
            "options": {"max_chunk_size": CHUNK_BYTES},
        }
        await appender.append(self._meta(name), json.dumps(about).encode(), ROLLUP)
        if before is not None:
            await self._purge(f"$O.{self._name}.C.{before['nuid']}")

    async def get(self, name: str, most: int | None = None) -> bytes | None:
        """The object, or None when there is none.

        Raises BrokenObject when it is not whole or has more than `most` bytes.
        """
        about = await self._about(name)
        if about is None:
            return None
        pieces: list[bytes] = []
        first = 1
        while len(pieces) < int(about["chunks"]):
            page = await self._reader.all_of(f"$O.{self._name}.C.{about['nuid']}", first, AT_ONCE)
            if not page:
                raise BrokenObject(f"object {name} of bucket {self._name} lacks a part")
            pieces += [stored.data for stored in page]
            first = page[-1].seq + 1
            # Counted, because the size that the bucket names is its writer's word.
            if most is not None and sum(map(len, pieces)) > most:
                raise BrokenObject(f"object {name} of bucket {self._name} is larger than {most} bytes")
        data = b"".join(pieces)
        if _digest(data) != about["digest"]:
            raise BrokenObject(f"object {name} of bucket {self._name} is not what was put: wrong digest")
        return data

    async def names(self) -> list[str]:
        """Names of all objects, in order; none when the bucket does not exist."""
        try:
            found = await self._reader.last_of([f"$O.{self._name}.M.*"])
        except NobodyAnswers:
            return []
        return sorted(str(about["name"]) for about in map(_about, found) if about is not None)

    async def delete(self, name: str) -> None:
        """Remove an object and every trace of it; absent is fine. Raises ApiError."""
        about = await self._about(name)
        await self._purge(self._meta(name))
        if about is not None:
            await self._purge(f"$O.{self._name}.C.{about['nuid']}")

    async def _about(self, name: str) -> Mapping[str, Any] | None:
        try:
            found = await self._reader.last_of([self._meta(name)])
        except NobodyAnswers:
            return None
        return _about(found[-1]) if found else None

    async def _purge(self, subject: str) -> None:
        try:
            await self._connection.api(f"STREAM.PURGE.{self.stream}", {"filter": subject})
        except ApiError as error:
            if error.err_code != NOT_FOUND:
                raise

    def _meta(self, name: str) -> str:
        return f"$O.{self._name}.M.{urlsafe_b64encode(name.encode()).decode()}"


def _about(stored: Any) -> Mapping[str, Any] | None:
    """What the bucket says of one object; None for a deleted one and for what nobody can read."""
    try:
        about = json.loads(stored.data)
        # The upload's name becomes part of a subject: it must not be a wildcard.
        is_sound = not about.get("deleted") and isinstance(about["chunks"], int) and about["nuid"].isalnum()
        is_sound = is_sound and isinstance(about["name"], str) and isinstance(about["digest"], str)
    except (ValueError, AttributeError, KeyError):
        return None
    return about if is_sound else None


def _digest(data: bytes) -> str:
    return "SHA-256=" + urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
