"""Drives the shell's own coroutines in virtual time, and is what they take for NATS.

A coroutine stops at each question to the server and goes on with its answer, in the same life of its process
or never. Bodies are bytes for it, and objects in the fake streams.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from datetime import datetime
from typing import Any

from outrider.broker.codec import decode, encode
from outrider.broker.errors import OutcomeUnknown, OutriderError, TimedOut, WrongSequence
from outrider.broker.follower import Stored
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import EXPECT, EXPECT_OVER, OnReceipt, Receipt
from outrider.ledger.entries import decode_entry
from outrider.ledger.fold import Story
from tests.sim.fake_api import answer_api
from tests.sim.fake_jetstream import WRONG_SEQUENCE, FakeStream, Message, Once, Planned, PubAnswer
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.loop import EPOCH
from tests.sim.sim_effects import UNKNOWN, SimAppender, SimReader, fold_messages
from tests.sim.wire import Node

API_TIMEOUT_S = 5.0
MAX_PAYLOAD = 48
"""So small that an object of a hundred bytes has several chunks."""
Say = Callable[[Any], None]


class Question:
    """What a coroutine waits for: it is asked once, and answered at most once."""

    def __init__(self, ask: Callable[[Say], None]) -> None:
        self.ask = ask

    def __await__(self) -> Generator[Question, Any, Any]:
        answer = yield self
        if isinstance(answer, OutriderError):
            raise answer
        return answer


def drive(work: Coroutine[Any, Any, Any], on_end: Callable[[Any], None]) -> None:
    """Run until it ends; `on_end` gets what it returned, or the error that it raised."""

    def go_on(answer: Any) -> None:
        try:
            question = work.send(answer)
        except StopIteration as over:
            on_end(over.value)
        except OutriderError as error:
            on_end(error)
        else:
            question.ask(go_on)

    go_on(None)


def pause(node: Node, pause_s: float) -> Question:
    """A sleep, to be awaited."""
    return Question(lambda say: node.after(pause_s, lambda: say(None)))


def as_bytes(data: Any) -> bytes:
    if isinstance(data, Planned):
        return data.data
    return data if isinstance(data, bytes) else encode(data)


def from_bytes(subject: str, data: bytes, headers: Mapping[str, str]) -> Any:
    """What the rest of the simulator stores under such a subject."""
    if "Nats-Schedule" in headers:
        at = datetime.fromisoformat(headers["Nats-Schedule"].removeprefix("@at ")).timestamp()
        return Planned(data, at, headers["Nats-Schedule-Target"])
    if "Nats-Msg-Id" in headers:
        return Once(data, headers["Nats-Msg-Id"])
    if subject.startswith(f"{SUBJECTS.fleet}.ledger."):
        return decode_entry(data)
    return decode(TaskEnvelope, data) if subject.startswith(f"{SUBJECTS.fleet}.task.") else data


class HandAppender:
    """Appender of pipeline.py, as coroutines know it."""

    def __init__(self, appender: SimAppender) -> None:
        self._appender = appender

    async def append(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        guards = headers or {}
        expect = int(guards[EXPECT]) if EXPECT in guards else None
        body, over = from_bytes(subject, data, guards), guards.get(EXPECT_OVER, "")
        answer: PubAnswer = await Question(lambda say: self._appender.send(subject, body, say, expect, over))
        if answer.err_code == WRONG_SEQUENCE:
            raise WrongSequence("another was first")
        if not answer.seq:
            raise OutcomeUnknown("no receipt" if answer is UNKNOWN else f"refused: {answer.err_code}")
        return answer.seq

    async def send(
        self, subject: str, data: bytes, on_receipt: OnReceipt, headers: Mapping[str, str] | None = None
    ) -> None:
        """Goes on when the receipt is there, or will not come."""
        try:
            on_receipt(Receipt(await self.append(subject, data, headers)))
        except OutriderError as error:
            on_receipt(Receipt(error=error))


class HandReader:
    """StreamReader of follower.py for one stream, and LedgerReader as far as it is needed."""

    def __init__(self, server: FakeServer, node: Node, stream: FakeStream) -> None:
        self._reader = SimReader(server, node)
        self._stream = stream

    async def _find(self, find: Callable[[FakeStream], list[Message]]) -> list[Message]:
        found = await Question(lambda say: self._reader.find(lambda tasks, ledger: find(self._stream), say))
        if found is None:
            raise TimedOut("the stream cannot be read")
        messages: list[Message] = found
        return messages

    async def all_of(self, subject_filter: str, first: int = 1, most: int = 10_000) -> list[Stored]:
        found = await self._find(lambda stream: stream.all_of(subject_filter, first)[:most])
        return [_stored(message) for message in found]

    async def last_of(self, subject_filters: list[str]) -> list[Stored]:
        found = await self._find(lambda stream: [m for f in subject_filters for m in stream.last_of(f)])
        return [_stored(message) for message in sorted(found, key=lambda message: message.seq)]

    async def at(self, seq: int) -> Stored | None:
        found = await self._find(lambda stream: [m for m in (stream.at(seq),) if m is not None])
        return _stored(found[0]) if found else None

    async def story(self, task_id: str) -> Story:
        return fold_messages(task_id, await self._find(lambda ledger: ledger.all_of(SUBJECTS.story(task_id))))


def _stored(message: Message) -> Stored:
    return Stored(message.subject, as_bytes(message.data), message.seq, EPOCH + message.stored_at, 0)


class HandConnection:
    """Connection, as far as the API of JetStream goes."""

    max_payload = MAX_PAYLOAD

    def __init__(self, server: FakeServer, node: Node) -> None:
        self._server = server
        self._node = node

    @property
    def is_connected(self) -> bool:
        return self._node.link.is_up

    async def api(self, request: str, body: Mapping[str, int] | None = None) -> Any:
        answer = await Question(lambda say: self._ask(request, body or {}, say))
        if answer is None:
            raise TimedOut("JetStream does not answer")
        return answer

    def _ask(self, request: str, body: Mapping[str, int], say: Say) -> None:
        is_open = True

        def finish(answer: Any) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                say(answer)

        reply = self._node.link.reply_to(finish)
        self._node.link.send(lambda: answer_api(self._server, request, body, reply))
        self._node.after(API_TIMEOUT_S, lambda: finish(None))
