"""JetStream in memory, as far as Outrider leans on it; test_conformance.py holds it to the real server.

Passive and generic: time is handed in, bodies are anything, and nobody is called back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

WRONG_SEQUENCE = 10071
NOT_FOUND = 10037


@lru_cache(maxsize=65536)
def matches(subject_filter: str, subject: str) -> bool:
    """Whether a subject falls under a NATS filter with `*` and `>`."""
    wanted, tokens = subject_filter.split("."), subject.split(".")
    for i, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > i
        if i >= len(tokens) or token not in ("*", tokens[i]):
            return False
    return len(tokens) == len(wanted)


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message. `stored_at` is virtual seconds on the server's clock."""

    seq: int
    subject: str
    data: Any
    stored_at: float


@dataclass(frozen=True, slots=True)
class Planned:
    """The body of a message that the server shall publish to `target` at an instant of the wall clock."""

    data: bytes
    at: float
    target: str


@dataclass(frozen=True, slots=True)
class Once:
    """The body of a message that the server shall store once under this id (`Nats-Msg-Id`)."""

    data: bytes
    message_id: str


@dataclass(frozen=True, slots=True)
class PubAnswer:
    """The server's answer to a publish: stored at `seq`, or refused with JetStream's error code."""

    seq: int = 0
    err_code: int = 0


class FakeStream:
    """A stream with compare-and-set over a subject filter; it removes no duplicates by message id."""

    def __init__(self, subjects: Iterable[str], *, keeps_last_only: bool = False) -> None:
        """`keeps_last_only` is `max_msgs_per_subject` 1."""
        self.subjects = tuple(subjects)
        self._keeps_last_only = keeps_last_only
        self.messages: dict[int, Message] = {}
        self.last_seq = 0
        self._by_filter: dict[str, list[int]] = {}
        self._filters_of: dict[str, list[list[int]]] = {}

    def takes(self, subject: str) -> bool:
        return any(matches(wanted, subject) for wanted in self.subjects)

    def publish(
        self, subject: str, data: Any, now: float, expect: int | None = None, over: str = ""
    ) -> PubAnswer:
        """Store, unless the last sequence over the filter `over` (default: the subject) is not `expect`."""
        if expect is not None and self._last_over(over or subject) != expect:
            return PubAnswer(err_code=WRONG_SEQUENCE)
        if self._keeps_last_only:
            for old in self.all_of(subject):
                self.delete(old.seq)
        self.last_seq += 1
        self.messages[self.last_seq] = Message(self.last_seq, subject, data, now)
        for index in self._indexes(subject):
            index.append(self.last_seq)
        return PubAnswer(self.last_seq)

    def _indexes(self, subject: str) -> list[list[int]]:
        found = self._filters_of.get(subject)
        if found is None:
            found = [index for wanted, index in self._by_filter.items() if matches(wanted, subject)]
            self._filters_of[subject] = found
        return found

    def _over(self, subject_filter: str) -> list[int]:
        """Sequences under a filter, deleted ones perhaps among them."""
        index = self._by_filter.get(subject_filter)
        if index is None:
            index = [s for s, m in self.messages.items() if matches(subject_filter, m.subject)]
            self._by_filter[subject_filter] = index
            for subject, indexes in self._filters_of.items():
                if matches(subject_filter, subject):
                    indexes.append(index)
        return index

    def _last_over(self, subject_filter: str) -> int:
        index = self._over(subject_filter)
        while index and index[-1] not in self.messages:
            index.pop()
        return index[-1] if index else 0

    def all_of(self, subject_filter: str, first: int = 1) -> list[Message]:
        """Every message under a filter, in order, from sequence `first`."""
        return [self.messages[s] for s in self._over(subject_filter) if s >= first and s in self.messages]

    def last_of(self, subject_filter: str) -> list[Message]:
        """The last message of each subject under a filter, in stream order."""
        last = {message.subject: message for message in self.all_of(subject_filter)}
        return sorted(last.values(), key=lambda message: message.seq)

    def at(self, seq: int) -> Message | None:
        return self.messages.get(seq)

    def delete(self, seq: int) -> bool:
        return self.messages.pop(seq, None) is not None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message handed out by a consumer, for the `count`-th time."""

    message: Message
    count: int


class FakeConsumer:
    """A durable pull consumer of a work queue: explicit acks, `max_deliver: -1`."""

    def __init__(self, stream: FakeStream, subject_filter: str, ack_wait_s: float) -> None:
        self.filter = subject_filter
        self._stream = stream
        self._ack_wait_s = ack_wait_s
        self._next = 1
        self._pending: dict[int, float] = {}
        """Handed out and not acked, with the instant at which each goes out again."""
        self._again: list[int] = []
        self._counts: dict[int, int] = {}

    def pull(self, batch: int, now: float) -> list[Delivery]:
        """Up to `batch` messages that are there now; what goes out again comes first."""
        self._expire(now)
        found: list[Delivery] = []
        while len(found) < batch:
            message = self._next_again() or self._next_new()
            if message is None:
                break
            self._pending[message.seq] = now + self._ack_wait_s
            self._counts[message.seq] = self._counts.get(message.seq, 0) + 1
            found.append(Delivery(message, self._counts[message.seq]))
        return found

    def _next_again(self) -> Message | None:
        while self._again:
            message = self._stream.at(self._again.pop(0))
            if message is not None:
                return message
        return None

    def _next_new(self) -> Message | None:
        for seq in self._stream._over(self.filter):
            if seq >= self._next:
                self._next = seq + 1
                message = self._stream.at(seq)
                if message is not None:
                    return message
        return None

    def _expire(self, now: float) -> None:
        late = sorted((at, seq) for seq, at in self._pending.items() if at <= now)
        for _, seq in late:
            del self._pending[seq]
            self._again.append(seq)

    def wake_at(self) -> float | None:
        """When the next message goes out again, if nobody acks it."""
        return min(self._pending.values(), default=None)

    def ack(self, seq: int) -> None:
        """Done: a work queue forgets the message, also when its time was up meanwhile."""
        if seq in self._pending or seq in self._again:
            self._forget(seq)
            self._stream.delete(seq)

    def nak(self, seq: int, now: float, delay_s: float = 0.0) -> None:
        """Hand it out again after a delay; only what is pending can be given back."""
        if seq not in self._pending:
            return
        if delay_s > 0:
            self._pending[seq] = now + delay_s
        else:
            del self._pending[seq]
            self._again.append(seq)

    def progress(self, seq: int, now: float) -> None:
        """Still worked on: its time begins anew."""
        if seq in self._pending:
            self._pending[seq] = now + self._ack_wait_s

    def restart(self, now: float) -> None:
        """The server came back: what was handed out is pending anew."""
        for seq in self._pending:
            self._pending[seq] = now + self._ack_wait_s

    def _forget(self, seq: int) -> None:
        self._pending.pop(seq, None)
        if seq in self._again:
            self._again.remove(seq)
        self._counts.pop(seq, None)
