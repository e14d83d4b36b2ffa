"""One viewer on `/ws`: what it follows, what it has, and the sending of what it lacks.

Nothing is queued for it. While a send waits for a slow reader the topics move on, and the next message
brings it to their present state in one step. docs/ui.md describes the protocol.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from outrider.broker.clock import Clock
from outrider.broker.errors import InvalidName, OutriderError, Refused
from outrider.broker.subjects import check_name
from outrider.ui.hub import FRAMES_PER_S, Hub, to_json
from outrider.ui.watch import Position, Watch
from outrider.ui.watches import Watches

BEAT_EVERY_S = 2.0
SEND_WITHIN_S = 10.0
BEHIND_AFTER_S = 1.0
MOST_TOPICS = 40
MOST_MISTAKES = 20
TOO_MANY_MISTAKES = 4400
TOO_SLOW = 4408
TASK = "task:"


class Viewer:
    """Serves one socket until it closes."""

    def __init__(
        self, socket: WebSocket, hub: Hub, watches: Watches, clock: Clock, about: dict[str, Any]
    ) -> None:
        self._socket = socket
        self._hub = hub
        self._watches = watches
        self._clock = clock
        self._about = about
        self._wake = asyncio.Event()
        self._topics: dict[str, int | None] = {}
        self._tasks: dict[str, tuple[Watch, Position]] = {}
        self._to_say: list[str] = []
        self._was_linked = True
        self._sent_at = 0.0
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Greet, then listen and send until the socket closes."""
        await self._socket.accept()
        self._hub.viewers.add(self._wake.set)
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send_all())
                await self._listen()
                sending.cancel()
        except* (WebSocketDisconnect, TimeoutError, RuntimeError, OSError):
            # The socket went while a message was on its way; there is nobody left to tell.
            pass
        finally:
            self._hub.viewers.discard(self._wake.set)
            for task_id in self._tasks:
                self._watches.close(task_id)

    async def _listen(self) -> None:
        mistakes = 0
        while mistakes < MOST_MISTAKES:
            try:
                text = await self._socket.receive_text()
            except (WebSocketDisconnect, KeyError):
                return
            try:
                self._obey(_parsed(text))
            except OutriderError as error:
                mistakes += 1
                self._to_say.append(to_json({"op": "error", **error.to_wire()["error"]}))
            self._wake.set()
        await self._socket.close(TOO_MANY_MISTAKES)

    def _obey(self, order: dict[str, Any]) -> None:
        op, topic = order.get("op"), order.get("topic")
        if op == "ping":
            self._to_say.append(to_json({"op": "pong", "now": self._clock.wall()}))
        elif op in ("sub", "unsub") and isinstance(topic, str):
            self._leave(topic)
            if op == "sub":
                self._follow(topic, order.get("since"))
        else:
            raise Refused("a message needs an op (sub, unsub or ping) and a topic")

    def _follow(self, topic: str, since: Any) -> None:
        if len(self._topics) + len(self._tasks) >= MOST_TOPICS:
            raise Refused(f"{MOST_TOPICS} topics are followed already", hint="unsub some first")
        known = since if isinstance(since, dict) and since.get("epoch") == self._hub.epoch else {}
        if self._hub.has(topic):
            seq = known.get("seq")
            self._topics[topic] = seq if isinstance(seq, int) else None
        elif topic.startswith(TASK):
            task_id = check_name(topic.removeprefix(TASK), "task_id")
            self._tasks[task_id] = (self._watches.open(task_id), _position(known))
        else:
            raise InvalidName(
                f"there is no topic {topic[:80]!r}", hint="agents, tasks, stats or task:TASK_ID"
            )

    def _leave(self, topic: str) -> None:
        self._topics.pop(topic, None)
        task_id = topic.removeprefix(TASK)
        if topic.startswith(TASK) and self._tasks.pop(task_id, None) is not None:
            self._watches.close(task_id)

    async def _send_all(self) -> None:
        await self._send(to_json(self._hello()))
        self._was_linked = self._hub.is_linked
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), BEAT_EVERY_S)
            except TimeoutError:
                await self._send(self._beat())
            self._wake.clear()
            for text in self._lacking():
                await self._send(text)
            if self._loop.time() - self._sent_at > BEAT_EVERY_S:
                await self._send(self._beat())

    def _hello(self) -> dict[str, Any]:
        return {
            "op": "hello",
            "epoch": self._hub.epoch,
            "seq": self._hub.frame,
            "ledger_seq": self._hub.projection.last_seq,
            "now": self._clock.wall(),
            "hz": FRAMES_PER_S,
            "nats": "up" if self._hub.is_linked else "down",
            "nats_since": self._hub.link_since,
            **self._about,
        }

    def _beat(self) -> str:
        return to_json({"op": "beat", "now": self._clock.wall(), "seq": self._hub.frame})

    def _lacking(self) -> Iterator[str]:
        """What this viewer does not have yet. Each piece is made when the one before it has been sent."""
        said, self._to_say = self._to_say, []
        yield from said
        if self._was_linked != self._hub.is_linked:
            self._was_linked = self._hub.is_linked
            state = "up" if self._was_linked else "down"
            yield to_json({"op": "nats", "state": state, "since": self._hub.link_since})
        for topic in list(self._topics):
            text, position = self._hub.message(topic, self._topics[topic])
            self._topics[topic] = position
            if text is not None:
                yield text
        for task_id in list(self._tasks):
            yield from self._task_step(task_id)

    def _task_step(self, task_id: str) -> Iterator[str]:
        watch, had = self._tasks[task_id]
        if not watch.is_loaded or had.version == watch.version:
            return
        step, now = watch.since(had)
        self._tasks[task_id] = (watch, now)
        op = "delta" if had.is_some else "snapshot"
        yield to_json({"op": op, "topic": TASK + task_id, "seq": watch.version, **step})

    async def _send(self, text: str) -> None:
        began = self._loop.time()
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._socket.send_text(text)
        except TimeoutError:
            await self._close_slow()
            raise
        self._sent_at = self._loop.time()
        self._hub.frames_sent += 1
        behind_s = self._sent_at - began
        if behind_s > BEHIND_AFTER_S:
            self._to_say.append(to_json({"op": "behind", "by_s": round(behind_s, 1)}))
            self._wake.set()

    async def _close_slow(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self._socket.close(TOO_SLOW, "reads too slowly")
        except (TimeoutError, RuntimeError, OSError):
            return


def _parsed(text: str) -> dict[str, Any]:
    try:
        order = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("a message must be one JSON object") from None
    if not isinstance(order, dict):
        raise Refused("a message must be one JSON object")
    return order


def _position(known: dict[str, Any]) -> Position:
    events, chars = known.get("events"), known.get("chars")
    if not isinstance(events, int) or not isinstance(chars, dict):
        return Position()
    counts = {int(n): c for n, c in chars.items() if str(n).isdigit() and isinstance(c, int) and c >= 0}
    return Position(events=max(0, events), chars=counts, is_some=True)
