"""Outcomes on disk until the ledger has them: one append-only journal for each agent. Knows no NATS.

`add` writes before anything is sent, so an outcome survives the death of this process at any moment.
Whatever the ledger has not confirmed after SYNC_AFTER_S is synced to the device beside the sending, one
sync for all, so that it survives the death of the machine too. Confirmed outcomes leave marks that ride
along with the next write, and the journal is emptied whenever nothing is open.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgpack

from outrider.broker.codec import dump, load
from outrider.broker.errors import Refused
from outrider.broker.object_ref import ObjectRef, ref_of

log = logging.getLogger(__name__)

SYNC_AFTER_S = 0.05
COMPACT_BYTES = 8 * 1024 * 1024
BODY_SUFFIX = ".result"
_HEAD = struct.Struct("<II")


@dataclass(slots=True)
class Finished:
    """An ended attempt and the bytes of its ledger entry. `expect` is what the append must expect."""

    task_id: str
    attempt: int
    epoch: int
    expect: int
    data: bytes
    ref: ObjectRef | None = None
    """Of the result, when it is too large for the entry and must be in the object store before it."""
    body: bytes = b""
    """That result, while it is not on disk."""
    is_stored: bool = False
    """The object store has the result, or the entry does without."""
    spooled_at: float = 0.0

    def renumber(self, epoch: int, expect: int) -> None:
        """Carry another fencing token from now on."""
        if epoch != self.epoch:
            self.data = dump(load(self.data) | {"epoch": epoch})
        self.epoch, self.expect = epoch, expect


def _record(body: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(body)
    return _HEAD.pack(len(packed), zlib.crc32(packed)) + packed


def _fields(f: Finished) -> list[Any]:
    ref = [] if f.ref is None else [[f.ref.sha256, f.ref.size]]
    return [f.task_id, f.attempt, f.epoch, f.expect, f.data, *ref]


def _finished(task_id: str, attempt: int, epoch: int, expect: int, data: bytes, *ref: Any) -> Finished:
    return Finished(task_id, attempt, epoch, expect, data, ObjectRef(*ref[0]) if ref else None)


def _records(data: bytes) -> Iterator[list[Any]]:
    """The whole records at the start; the rest was cut by a crash while it was being written."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) < length or zlib.crc32(body) != check:
            return
        yield msgpack.unpackb(body)
        at += _HEAD.size + length


def _sync_and_close(file: int) -> None:
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


class Spool:
    """The journal of one agent. Open it with `Spool.open`; one process at a time may hold it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "outcomes.journal"
        self._open: dict[tuple[str, int], Finished] = {}
        self._marks = bytearray()
        self._size = 0
        self._synced = 0
        self.large_bytes = 0
        """Size of all large results that are not recorded yet."""
        self._is_failing = False
        self._timer: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._file = -1

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Take the journal and read what an earlier process left.

        Raises Refused when another process of this machine holds it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self = cls(folder)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Refused(
                f"an agent named {folder.name} already runs on this machine",
                hint="give this one another name, or stop the other",
            ) from None
        self._recover()
        return self

    def _recover(self) -> None:
        if self._path.is_file():
            for task_id, attempt, *rest in _records(self._path.read_bytes()):
                if rest:
                    self._open[task_id, attempt] = _finished(task_id, attempt, *rest)
                else:
                    self._open.pop((task_id, attempt), None)
        self._drop_what_lost_its_body()
        self._rewrite()

    def _drop_what_lost_its_body(self) -> None:
        """An outcome whose large result did not reach the disk is as good as never spooled."""
        for key, finished in list(self._open.items()):
            if finished.ref is None:
                continue
            if ref_of(self.body_of(finished)) == finished.ref:
                self.large_bytes += finished.ref.size
            else:
                log.error("the result of task %s did not survive: it runs again", finished.task_id)
                del self._open[key]
        kept = {self._body_path(f) for f in self._open.values() if f.ref is not None}
        for path in self._path.parent.glob(f"*{BODY_SUFFIX}"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open_outcomes(self) -> list[Finished]:
        """What the ledger has not confirmed, oldest first. Safe to read from another thread."""
        return list(self._open.values())

    def find(self, task_id: str, attempt: int) -> Finished | None:
        """The outcome of an attempt, while the ledger has not confirmed it."""
        return self._open.get((task_id, attempt))

    def add(self, finished: Finished) -> None:
        """Write it to the journal. A disk that refuses is reported once and does not stop the outcome."""
        finished.spooled_at = time.monotonic()
        self._open[finished.task_id, finished.attempt] = finished
        if finished.ref is not None:
            self._keep_body(finished, finished.ref)
        self._write(_record(_fields(finished)))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SYNC_AFTER_S, self._tick)

    def done(self, finished: Finished) -> None:
        """The ledger has it, or has moved on without it."""
        if self._open.pop((finished.task_id, finished.attempt), None) is not None:
            self._marks += _record([finished.task_id, finished.attempt])
            if finished.ref is not None:
                self.large_bytes -= finished.ref.size
                self._body_path(finished).unlink(missing_ok=True)

    def body_of(self, finished: Finished) -> bytes:
        """The large result of an open outcome; empty when it is gone."""
        if finished.body:
            return finished.body
        try:
            return self._body_path(finished).read_bytes()
        except OSError:
            return b""

    def _keep_body(self, finished: Finished, ref: ObjectRef) -> None:
        self.large_bytes += ref.size
        path = self._body_path(finished)
        try:
            path.touch(0o600)
            path.write_bytes(finished.body)
            finished.body = b""
        except OSError as problem:
            path.unlink(missing_ok=True)
            self._mend(problem)

    def _body_path(self, finished: Finished) -> Path:
        return self._path.parent / f"{finished.task_id}.{finished.attempt}{BODY_SUFFIX}"

    def _write(self, record: bytes) -> None:
        data = bytes(self._marks) + record
        self._marks.clear()
        try:
            if os.write(self._file, data) < len(data):
                raise OSError("the disk took only a part")
            self._size += len(data)
            self._is_failing = False
        except OSError as problem:
            self._mend(problem)

    def _mend(self, problem: OSError) -> None:
        if not self._is_failing:
            log.error("outcomes cannot be kept in %s: %s; sending them without", self._path, problem)
        self._is_failing = True
        os.ftruncate(self._file, self._size)

    def _tick(self) -> None:
        self._timer = None
        if not self._open:
            self._empty()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SYNC_AFTER_S, self._tick)
        if self._size > COMPACT_BYTES:
            self._rewrite()
        oldest = next(iter(self._open.values()))
        if self._synced < self._size and time.monotonic() - oldest.spooled_at > SYNC_AFTER_S:
            self._sync_beside(loop)

    def _sync_beside(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._syncing is None or self._syncing.done():
            self._synced = self._size
            self._syncing = loop.run_in_executor(None, _sync_and_close, os.dup(self._file))

    def _empty(self) -> None:
        self._marks.clear()
        self._size = self._synced = 0
        os.ftruncate(self._file, 0)

    def _rewrite(self) -> None:
        """Start a new journal with only what is open."""
        fresh = self._path.with_suffix(".new")
        file = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        data = b"".join(_record(_fields(f)) for f in self.open_outcomes)
        os.write(file, data)
        if data:
            os.fsync(file)
        fresh.replace(self._path)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._synced = file, len(data), len(data)
        self._marks.clear()

    def close(self) -> None:
        """Sync what is open and let go of the journal."""
        if self._timer is not None:
            self._timer.cancel()
        if self._open:
            os.fsync(self._file)
        else:
            self._empty()
        os.close(self._file)
        os.close(self._lock)
