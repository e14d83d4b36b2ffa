"""The fleet's models in NATS: their files in an object store, the decisions about them, and who trains now.

I/O only. What comes out of here is untrusted until a `ModelStore` has installed it.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from outrider.broker.background import Background
from outrider.broker.bucket import ROLLUP, Bucket
from outrider.broker.connection import Connection
from outrider.broker.errors import DecodeError, NobodyAnswers, OutriderError, Refused, WrongSequence
from outrider.broker.follower import Stored, StreamReader
from outrider.broker.pipeline import Appender, guard
from outrider.broker.subjects import Subjects
from outrider.router.artifact import FOREST, MANIFEST, MOST_MANIFEST_BYTES, SERVED
from outrider.router.decisions import SHIPPED_NAME, Decision, read, written
from outrider.router.flat_forest import MOST_BYTES, ModelRefused

BUCKET_BYTES = 512 * 1024**2
MOST_MODELS = 10
"""So many of the models that served last are kept."""
MOST_DECISIONS = 1000
LISTED = "`outrider router models` lists the fleet's models"
LEASE_S = 1800.0
"""After so long a training that says nothing has died. Longer than a training may take."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who trains; `seq` is where that stands, the ground of the compare-and-set."""

    by: str = ""
    until: float = 0.0
    seq: int = 0

    def is_held(self, now: float) -> bool:
        return bool(self.by) and now < self.until


class FleetModels:
    """Reads for all; writing needs an appender, see `writing`."""

    def __init__(self, connection: Connection, subjects: Subjects, appender: Appender | None = None) -> None:
        self._connection = connection
        self._subjects = subjects
        self._bucket = Bucket(connection, subjects.models_bucket)
        self._reader = StreamReader(connection, self._bucket.stream)
        self._appender = appender

    async def create(self) -> None:
        """Make the bucket if it lacks, with as many replicas as the ledger. Raises ApiError."""
        ledger = await self._connection.api(f"STREAM.INFO.{self._subjects.ledger_stream}")
        replicas = int(ledger["config"].get("num_replicas", 1))
        also = (self._subjects.model_decision, self._subjects.model_training)
        await self._bucket.create(BUCKET_BYTES, replicas, also)

    # ---- decisions

    async def newest(self) -> Decision | None:
        """The newest decision, None before the first. Raises DecodeError or what reading raises."""
        stored = await self._last(self._subjects.model_decision)
        return None if stored is None else read(stored.data, stored.seq, stored.stored_at)

    async def decisions(self) -> list[Decision]:
        """All that are kept, oldest first, without what nobody can read."""
        try:
            found = await self._reader.all_of(self._subjects.model_decision)
        except NobodyAnswers:
            return []
        decisions = []
        for stored in found:
            try:
                decisions.append(read(stored.data, stored.seq, stored.stored_at))
            except DecodeError:
                continue
        return decisions

    async def decide(self, decision: Decision, after: int) -> None:
        """Record a decision if none came since sequence `after`. Raises WrongSequence if one did."""
        subject = self._subjects.model_decision
        await self._writer.append(subject, written(decision), guard(after, subject))

    async def last_decision_seq(self) -> int:
        stored = await self._last(self._subjects.model_decision)
        return 0 if stored is None else stored.seq

    # ---- files

    async def publish(self, version: str, files: dict[str, bytes]) -> None:
        """Store a model's files, the manifest last. Raises QueueFull or OutcomeUnknown."""
        for name in SERVED:
            await self._bucket.put(self._writer, f"{version}/{name}", files[name])

    async def fetch(self, version: str) -> dict[str, bytes]:
        """The files of a model, unchecked but bounded. Raises ModelRefused, which names the versions that are
        there, or what reading does."""
        files = {}
        for name in SERVED:
            data = await self._bucket.get(
                f"{version}/{name}", MOST_BYTES if name == FOREST else MOST_MANIFEST_BYTES
            )
            if data is None:
                raise await self._lacking(version, name)
            files[name] = data
        return files

    async def _lacking(self, version: str, name: str) -> ModelRefused:
        stored = await self.versions()
        if version in stored:
            return ModelRefused(f"model {version} is not whole in the object store: {name} is missing")
        known = ", ".join([*stored, SHIPPED_NAME])
        if any(version == decision.version for decision in await self.decisions()):
            what = f"model {version} is not in the object store: it never served, or was let go since"
            return ModelRefused(f"{what}; known there: {known}", hint=LISTED)
        return ModelRefused(f"no such version: {version}; known: {known}", hint=LISTED)

    async def versions(self) -> list[str]:
        """Versions whose files are there."""
        names = await self._bucket.names()
        return [name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")]

    async def tidy(self, kept: set[str]) -> None:
        """Let go of old decisions and models: of all but the newest promoted ones and `kept`."""
        subject = self._subjects.model_decision
        body = {"filter": subject, "keep": MOST_DECISIONS}
        await self._connection.api(f"STREAM.PURGE.{self._bucket.stream}", body)
        served = dict.fromkeys(d.serves for d in reversed(await self.decisions()) if d.serves)
        stay = kept | set(list(served)[:MOST_MODELS])
        for version in await self.versions():
            if version not in stay:
                for name in reversed(SERVED):
                    await self._bucket.delete(f"{version}/{name}")

    # ---- one training at a time

    async def lease(self) -> Lease:
        stored = await self._last(self._subjects.model_training)
        if stored is None:
            return Lease()
        try:
            by = str(json.loads(stored.data)["by"])
        except (ValueError, KeyError, TypeError):
            by = ""
        return Lease(by, stored.stored_at + LEASE_S, stored.seq)

    @asynccontextmanager
    async def training(self, by: str) -> AsyncIterator[None]:
        """The block trains alone in the fleet. Raises Refused when another trains."""
        found = await self.lease()
        if found.is_held(time.time()):
            raise Refused(f"{found.by} trains already", hint="wait for it, or see `outrider router models`")
        try:
            seq = await self._note_training(by, found.seq)
        except WrongSequence:
            raise Refused("another training began at the same moment", hint="wait for it") from None
        try:
            yield
        finally:
            # Whoever took the lease over after it ran out keeps it.
            with suppress(OutriderError):
                await self._note_training("", seq)

    async def _note_training(self, by: str, after: int) -> int:
        subject = self._subjects.model_training
        body = json.dumps({"by": by}).encode()
        return await self._writer.append(subject, body, guard(after, subject) | ROLLUP)

    async def _last(self, subject: str) -> Stored | None:
        try:
            found = await self._reader.last_of([subject])
        except NobodyAnswers:
            return None
        return found[-1] if found else None

    @property
    def _writer(self) -> Appender:
        if self._appender is None:
            raise RuntimeError("opened for reading")
        return self._appender


@asynccontextmanager
async def writing(connection: Connection, subjects: Subjects) -> AsyncIterator[FleetModels]:
    """The fleet's models for reading and writing, until the end of the block."""
    appender = Appender(connection)
    await appender.start()
    async with Background() as background:
        background.spawn(appender.run())
        yield FleetModels(connection, subjects, appender)
        await background.end()
