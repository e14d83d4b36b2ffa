"""Large bodies in the fleet's object store, under their hash: put once, verified when fetched. Knows no task.

The layout is that of every NATS object store, so `nats object ls` shows it. It is written and read without
consumers and without deleting, so a user needs to publish, to read directly and nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any

from outrider.broker.clock import Clock, SystemClock
from outrider.broker.codec import load
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import (
    DecodeError,
    InvalidTask,
    ObjectCorrupt,
    ObjectMissing,
    OutriderError,
    PayloadTooLarge,
)
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.object_ref import ObjectRef, ref_of
from outrider.broker.pipeline import Appender, Receipt
from outrider.broker.streams import NOT_FOUND, SECOND
from outrider.broker.subjects import Subjects

CHUNK_BYTES = 128 * 1024
CHUNKS_ON_THEIR_WAY = 16
CHUNKS_A_READ = 16
LOOK_AGAIN_AFTER_S = (0.1, 0.4)
"""A replica may be a moment behind."""
REUSED_FOR = 4
"""An object is used again in the first quarter of its life, so that it outlives whoever names it last."""


class ObjectStore:
    """The objects of one fleet, of at most `largest` bytes each."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        appender: Appender,
        largest: int,
        clock: Clock | None = None,
    ) -> None:
        self._connection = connection
        self._appender = appender
        self._clock = clock or SystemClock()
        self._bucket = subjects.objects_bucket
        self._stream = subjects.objects_stream
        self._reader = StreamReader(connection, self._stream)
        self._max_age_s: float | None = None
        self.largest = largest

    async def put(self, ref: ObjectRef, body: bytes) -> None:
        """Store the body that `ref` names, unless it is there already.

        Raises PayloadTooLarge, QueueFull when the store is full, OutcomeUnknown, NatsUnavailable or TimedOut;
        after the last three it is safe to put it again.
        """
        if ref.size > self.largest:
            raise too_large(ref.size, self.largest)
        max_age_s = await self._max_age()
        meta = await self._meta(ref)
        if meta is not None and await self._is_reusable(ref, meta, max_age_s):
            return
        upload = self._new_upload(ref)
        await self._upload(self._chunks_subject(upload), body)
        described = json.dumps(self._description(ref, upload)).encode()
        await self._appender.append(self._meta_subject(ref), described, {"Nats-Rollup": "sub"})

    async def get(self, ref: ObjectRef) -> bytes:
        """The body that `ref` names, verified.

        Raises ObjectMissing, ObjectCorrupt, PayloadTooLarge, or what reading raises.
        """
        if ref.size > self.largest:
            raise too_large(ref.size, self.largest)
        meta = await self._meta_after_all(ref)
        described = _described(meta)
        body = await self._read_chunks(ref, str(described.get("nuid", "")))
        if (await self._ref_of(body)) != ref:
            raise ObjectCorrupt(f"object {ref.sha256} holds {len(body)} bytes that its name does not fit")
        return body

    async def has(self, ref: ObjectRef) -> bool:
        """Whether the store knows an object of this name and size."""
        try:
            meta = await self._meta_after_all(ref)
        except ObjectMissing:
            return False
        return _described(meta).get("size") == ref.size

    async def _pause(self, pause_s: float) -> None:
        await asyncio.sleep(pause_s)

    async def _ref_of(self, body: bytes) -> ObjectRef:
        return await asyncio.to_thread(ref_of, body)

    def _new_upload(self, _: ObjectRef) -> str:
        return secrets.token_hex(16)

    # ---- what is there

    async def _max_age(self) -> float:
        """Seconds that the store keeps an object, 0 for ever. Raises PayloadTooLarge without a store."""
        if self._max_age_s is None:
            try:
                info = await self._connection.api(f"STREAM.INFO.{self._stream}")
            except ApiError as error:
                if error.err_code != NOT_FOUND:
                    raise
                raise PayloadTooLarge(
                    f"the body is over what travels inline, and this NATS has no object store {self._bucket}",
                    hint="start an orchestrator of this version, it makes the store",
                ) from None
            self._max_age_s = float(info["config"].get("max_age", 0)) / SECOND
        return self._max_age_s

    async def _meta(self, ref: ObjectRef) -> Stored | None:
        found = await self._reader.last_of([self._meta_subject(ref)])
        return found[-1] if found else None

    async def _meta_after_all(self, ref: ObjectRef) -> Stored:
        meta = await self._meta(ref)
        for pause_s in LOOK_AGAIN_AFTER_S:
            if meta is not None:
                return meta
            await self._pause(pause_s)
            meta = await self._meta(ref)
        if meta is None:
            raise _missing(ref)
        return meta

    async def _is_reusable(self, ref: ObjectRef, meta: Stored, max_age_s: float) -> bool:
        described = _described(meta)
        if described.get("size") != ref.size or described.get("deleted"):
            return False
        if max_age_s and self._clock.wall() - meta.stored_at > max_age_s / REUSED_FOR:
            return False
        return bool(await self._reader.last_of([self._chunks_subject(str(described.get("nuid", "")))]))

    # ---- writing

    async def _upload(self, subject: str, body: bytes) -> None:
        room = asyncio.Semaphore(CHUNKS_ON_THEIR_WAY)
        refused: list[OutriderError] = []

        def stored(receipt: Receipt) -> None:
            room.release()
            if receipt.error is not None:
                refused.append(receipt.error)

        size = min(CHUNK_BYTES, self._connection.max_payload // 2)
        view = memoryview(body)
        for at in range(0, len(body), size):
            await room.acquire()
            if refused:
                room.release()
                break
            # A chunk that arrived twice would make another object of it.
            once = {"Nats-Msg-Id": f"{subject}.{at}"}
            await self._appender.send(subject, bytes(view[at : at + size]), stored, once)
        for _ in range(CHUNKS_ON_THEIR_WAY):
            await room.acquire()
        if refused:
            raise refused[0]

    def _description(self, ref: ObjectRef, upload: str) -> dict[str, Any]:
        size = min(CHUNK_BYTES, self._connection.max_payload // 2)
        digest = base64.urlsafe_b64encode(bytes.fromhex(ref.sha256)).decode()
        return {
            "name": ref.sha256,
            "options": {"max_chunk_size": size},
            "bucket": self._bucket,
            "nuid": upload,
            "size": ref.size,
            "mtime": datetime.fromtimestamp(self._clock.wall(), UTC).isoformat().replace("+00:00", "Z"),
            "chunks": -(-ref.size // size),
            "digest": f"SHA-256={digest}",
        }

    # ---- reading

    async def _read_chunks(self, ref: ObjectRef, upload: str) -> bytes:
        first, parts, left = 1, [], ref.size
        while left > 0:
            page = await self._page_after_all(upload, first)
            if not page:
                raise _missing(ref)
            parts += [stored.data for stored in page]
            left -= sum(len(stored.data) for stored in page)
            first = page[-1].seq + 1
        return b"".join(parts)

    async def _page_after_all(self, upload: str, first: int) -> list[Stored]:
        """The next chunks; another replica may have told of the object than is asked for them."""
        subject = self._chunks_subject(upload)
        page = await self._reader.all_of(subject, first, CHUNKS_A_READ)
        for pause_s in LOOK_AGAIN_AFTER_S:
            if page:
                break
            await self._pause(pause_s)
            page = await self._reader.all_of(subject, first, CHUNKS_A_READ)
        return page

    def _meta_subject(self, ref: ObjectRef) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(ref.sha256.encode()).decode()}"

    def _chunks_subject(self, upload: str) -> str:
        # The name of an upload comes from a stored message: it must not become a wildcard.
        return f"$O.{self._bucket}.C.{upload if upload.isalnum() else '-'}"


def value_in(body: bytes) -> Any:
    """The plain value in an object, MessagePack or JSON as every body. Raises InvalidTask."""
    try:
        return load(body, len(body))
    except DecodeError as error:
        raise InvalidTask(f"object of {len(body)} bytes cannot be read: {error.message}") from None


def too_large(size: int, largest: int) -> PayloadTooLarge:
    """The refusal of a body that even the object store does not take."""
    return PayloadTooLarge(
        f"{size} bytes are over the limit of {largest} bytes for one object",
        hint="raise OUTRIDER_LARGEST_OBJECT_BYTES on both sides, or send the address of the data",
    )


def _missing(ref: ObjectRef) -> ObjectMissing:
    return ObjectMissing(f"object {ref.sha256} is not in the store: expired or never stored")


def _described(meta: Stored) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        value = json.loads(meta.data)
        if isinstance(value, dict):
            return value
    return {}
