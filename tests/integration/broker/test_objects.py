"""Large bodies on a real server: stored once, verified, refused with a name."""

from __future__ import annotations

import json
import time

import pytest

from outrider.broker.connection import Connection
from outrider.broker.errors import InvalidTask, ObjectCorrupt, ObjectMissing, PayloadTooLarge, QueueFull
from outrider.broker.object_ref import ObjectRef, ref_of
from outrider.broker.objects import CHUNK_BYTES, ObjectStore, value_in
from outrider.broker.pipeline import Appender
from outrider.broker.streams import StreamLimits, ensure_streams
from outrider.broker.subjects import Subjects

MIB = 1024 * 1024
DAY_S = 86_400


class LaterClock:
    """A wall clock that a test moves forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return 0.0

    def wall(self) -> float:
        return time.time() + self.ahead_s


class Shelf:
    """One object store and what its stream holds."""

    def __init__(self, connection: Connection, subjects: Subjects, appender: Appender) -> None:
        self.connection = connection
        self.subjects = subjects
        self.appender = appender
        self.clock = LaterClock()
        self.store = ObjectStore(connection, subjects, appender, 8 * MIB, self.clock)

    async def put(self, body: bytes) -> ObjectRef:
        ref = ref_of(body)
        await self.store.put(ref, body)
        return ref

    async def messages(self) -> int:
        info = await self.connection.api(f"STREAM.INFO.{self.subjects.objects_stream}")
        return int(info["state"]["messages"])


@pytest.fixture
async def shelf(connection: Connection, subjects: Subjects) -> Shelf:
    await ensure_streams(connection, subjects, StreamLimits(payloads_bytes=16 * MIB))
    appender = Appender(connection)
    await appender.start()
    return Shelf(connection, subjects, appender)


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * MIB + 7])
async def test_what_was_put_comes_back_bit_by_bit(shelf: Shelf, size: int) -> None:
    body = bytes(i % 251 for i in range(1024)) * (size // 1024 + 1)
    ref = await shelf.put(body[:size])
    assert await shelf.store.get(ref) == body[:size]
    assert await shelf.store.has(ref)


async def test_the_same_body_is_stored_once(shelf: Shelf) -> None:
    await shelf.put(b"x" * MIB)
    before = await shelf.messages()
    await shelf.put(b"x" * MIB)
    assert await shelf.messages() == before == 9
    await shelf.put(b"y" * MIB)
    assert await shelf.messages() == 18


async def test_an_object_that_grows_old_is_put_again_so_that_it_outlives_the_ledger(shelf: Shelf) -> None:
    ref = await shelf.put(b"x" * MIB)
    shelf.clock.ahead_s = 6.9 * DAY_S
    await shelf.put(b"x" * MIB)
    assert await shelf.messages() == 9
    shelf.clock.ahead_s = 7.1 * DAY_S
    await shelf.put(b"x" * MIB)
    assert await shelf.messages() == 17  # its old pieces go with their age, its name is one
    assert await shelf.store.get(ref) == b"x" * MIB


async def test_what_was_never_put_is_missing(shelf: Shelf) -> None:
    with pytest.raises(ObjectMissing, match=ref_of(b"other").sha256):
        await shelf.store.get(ref_of(b"other"))
    assert not await shelf.store.has(ref_of(b"other"))


async def test_an_object_whose_pieces_are_gone_is_missing_and_can_be_put_again(shelf: Shelf) -> None:
    ref = await shelf.put(b"x" * MIB)
    pieces = f"$O.{shelf.subjects.objects_bucket}.C.>"
    await shelf.connection.api(f"STREAM.PURGE.{shelf.subjects.objects_stream}", {"filter": pieces})
    with pytest.raises(ObjectMissing):
        await shelf.store.get(ref)
    await shelf.put(b"x" * MIB)
    assert await shelf.store.get(ref) == b"x" * MIB


@pytest.mark.parametrize("wrong", [b"y" * MIB, b"x" * (MIB - 1), b"x" * (MIB + 1)])
async def test_a_body_that_its_name_does_not_fit_is_corrupt_and_never_returned(
    shelf: Shelf, wrong: bytes
) -> None:
    ref, lie = ref_of(b"x" * MIB), ref_of(wrong)
    upload = f"$O.{shelf.subjects.objects_bucket}.C.forged"
    for at in range(0, len(wrong), CHUNK_BYTES):
        await shelf.appender.append(upload, wrong[at : at + CHUNK_BYTES])
    described = shelf.store._description(ref, "forged")
    await shelf.appender.append(shelf.store._meta_subject(ref), json.dumps(described).encode())
    with pytest.raises((ObjectCorrupt, ObjectMissing)):
        await shelf.store.get(ref)
    assert lie != ref


async def test_bounds_are_named(shelf: Shelf, connection: Connection) -> None:
    with pytest.raises(PayloadTooLarge, match="8388608") as refused:
        await shelf.put(b"x" * (8 * MIB + 1))
    assert "OUTRIDER_LARGEST_OBJECT_BYTES" in refused.value.hint
    with pytest.raises(PayloadTooLarge):
        await shelf.store.get(ObjectRef("0" * 64, 9 * MIB))
    await shelf.put(b"a" * (8 * MIB))
    with pytest.raises(QueueFull):
        await shelf.put(b"b" * (8 * MIB))


async def test_a_fleet_without_a_store_says_who_makes_it(connection: Connection) -> None:
    appender = Appender(connection)
    await appender.start()
    store = ObjectStore(connection, Subjects("elsewhere"), appender, MIB)
    with pytest.raises(PayloadTooLarge, match="no object store ELSEWHERE_PAYLOADS"):
        await store.put(ref_of(b"x"), b"x")


def test_references_and_bodies_that_make_no_sense_are_named() -> None:
    for bad in (ObjectRef("", 1), ObjectRef("A" * 64, 1), ObjectRef("0" * 64, 0), ObjectRef("*", 5)):
        with pytest.raises(InvalidTask):
            bad.check()
    with pytest.raises(InvalidTask, match="object of 3 bytes cannot be read"):
        value_in(b"\xc1\xc1\xc1")
    assert value_in(b'{"a": 1}') == value_in(b"\x81\xa1a\x01") == {"a": 1}
