"""The stream of the object store in virtual time, with all that may happen to what lies in it.

It draws from a generator of its own, so that a seed's other events are the same with and without it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

from outrider.broker.object_ref import ObjectRef
from outrider.broker.subjects import Subjects
from tests.sim.fake_jetstream import FakeStream, Message, Once, PubAnswer

MOST_LAG_S = 0.35
"""How far a replica may be behind."""


class FakeObjects(FakeStream):
    """Objects lie as descriptions and chunks; a new description of an object takes the place of the old."""

    def __init__(self, subjects: Subjects, seed: int) -> None:
        self._random = Random(f"objects {seed}")
        self._bucket = subjects.objects_bucket
        super().__init__([f"$O.{self._bucket}.>"])
        self.max_age_s = self._random.choice((0.0, 20.0, 40.0))
        """How long anything is kept; 0 for ever."""
        self.is_replicated = self._random.random() < 0.4
        """Whether a read may be answered by a replica that is behind."""
        self._known: dict[str, int] = {}
        """Ids of messages that are stored once, and where they are."""
        self.aged: set[str] = set()
        """Hashes of objects that were too old, or an older copy of them."""
        self.hurt: set[str] = set()
        """Hashes of all objects that were ever lost or damaged, other than by their age."""

    def publish(
        self, subject: str, data: Any, now: float, expect: int | None = None, over: str = ""
    ) -> PubAnswer:
        if isinstance(data, Once):
            known = self._known.get(data.message_id)
            answer = super().publish(subject, data.data, now) if known is None else PubAnswer(known)
            self._known[data.message_id] = answer.seq
            return answer
        if subject.startswith(f"$O.{self._bucket}.M."):
            for old in self.all_of(subject):
                self.delete(old.seq)
        return super().publish(subject, data, now, expect, over)

    def expire(self, now: float) -> None:
        """Forget what is too old, message by message, as the server does."""
        if self.max_age_s:
            for message in list(self.messages.values()):
                if now - message.stored_at > self.max_age_s:
                    self.aged |= self._names_of(message)
                    self.delete(message.seq)

    def lag_s(self) -> float:
        """How far behind the replica is that answers the next read."""
        if not self.is_replicated or self._random.random() < 0.7:
            return 0.0
        return self._random.uniform(0.0, MOST_LAG_S)

    def hurt_one(self) -> None:
        """Lose a part of an object, or change a byte of it."""
        found = self._random.choice(list(self.messages.values())) if self.messages else None
        if found is None:
            return
        self.hurt |= self._names_of(found)
        if ".C." in found.subject and self._random.random() < 0.5:
            data = bytearray(found.data)
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
            self.messages[found.seq] = replace(found, data=bytes(data))
        else:
            self.delete(found.seq)

    def _names_of(self, message: Message) -> set[str]:
        """The objects that one message belongs to; the description of an upload may come later."""
        if ".M." in message.subject:
            return {json.loads(message.data)["name"]}
        upload = message.subject.rpartition(".")[2]
        described = [json.loads(m.data) for m in self.all_of(f"$O.{self._bucket}.M.*")]
        return {d["name"] for d in described if d["nuid"] == upload} or {self._name_of_upload(upload)}

    def _name_of_upload(self, upload: str) -> str:
        """An upload says in its own name what it is of, as sim_objects.py names it."""
        return upload.partition("x")[2]

    def holds(self, ref: ObjectRef) -> bool:
        """Whether the object is there, whole and sound."""
        name = base64.urlsafe_b64encode(ref.sha256.encode()).decode()
        for message in self.all_of(f"$O.{self._bucket}.M.{name}"):
            chunks = self.all_of(f"$O.{self._bucket}.C.{json.loads(message.data)['nuid']}")
            return sha256(b"".join(chunk.data for chunk in chunks)).hexdigest() == ref.sha256
        return False
