"""Twin of the orchestrator's limit_store.py: follows the stream of limits, and changes them on request.

It follows the real file step by step, without asyncio; a change there wants the same change here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from outrider.broker.limits import Limit, LimitsRequest
from outrider.orchestrator import events
from outrider.orchestrator.core import Core
from tests.sim.fake_jetstream import Message, PubAnswer
from tests.sim.fake_server import SUBJECTS, FakeServer, Feed, Reply
from tests.sim.loop import Action
from tests.sim.sim_effects import SimAppender
from tests.sim.wire import FEED, Node

HEARD_WITHIN_S = 5.0
LOOK_EVERY_S = 0.1
FOLLOW_AGAIN_S = 3.0


class SimLimits:
    """LimitStore of one life of an orchestrator."""

    def __init__(
        self,
        server: FakeServer,
        node: Node,
        core: Core,
        appender: SimAppender,
        post: Callable[[events.Event], None],
    ) -> None:
        self._server = server
        self._node = node
        self._core = core
        self._appender = appender
        self._post = post
        self._feed: Feed | None = None
        self._last_seq = 0
        self._on_caught_up: Action | None = None

    def begin(self, on_caught_up: Action) -> None:
        """Follow; `on_caught_up` is called once, when all that was set before is in the inbox."""
        self._on_caught_up = on_caught_up
        self._follow()

    def _follow(self) -> None:
        if self._feed is not None:
            self._feed.is_open = False
        link, filters = self._node.link, (SUBJECTS.all_limits,)
        feed = Feed(link, self._node.life, filters, self._last_seq, link.reply_to(lambda _: None))
        feed.reply = link.reply_to(lambda message: self._received(feed, message), FEED)
        self._feed = feed
        link.send(lambda: self._server.follow(feed))
        self._node.after(FOLLOW_AGAIN_S, lambda: self._retry(feed))

    def _retry(self, feed: Feed) -> None:
        if self._feed is feed and self._node.link.is_up and not feed.is_made:
            self._follow()

    def link_changed(self, *, is_up: bool) -> None:
        if is_up:
            self._follow()

    def _received(self, feed: Feed, message: Message | None) -> None:
        if self._feed is not feed:
            return
        if message is None:
            on_caught_up, self._on_caught_up = self._on_caught_up, None
            if on_caught_up is not None:
                on_caught_up()
        elif message.seq > self._last_seq:
            self._last_seq = message.seq
            self._post(events.LimitSet(message.data, message.seq))

    def serve(self) -> None:
        self._server.subscribe(self._node.link, SUBJECTS.limits, self._asked, "orchestrator")

    def _asked(self, _: str, request: LimitsRequest, reply: Reply | None) -> None:
        limit = request.set
        if request.remove is not None:
            limit = Limit(request.remove.kind, request.remove.key)
        if limit is None:
            return

        def receipt(answer: PubAnswer) -> None:
            if answer.seq:
                self._answer_when_heard(answer.seq, self._node.loop.now + HEARD_WITHIN_S, reply)

        body = replace(limit, set_at=self._node.clock.wall())
        self._appender.send(SUBJECTS.limit(limit.kind, limit.key), body, receipt)

    def _answer_when_heard(self, seq: int, until: float, reply: Reply | None) -> None:
        """Who asked is told once this orchestrator goes by it."""
        if self._core.memory.limits.seq >= seq:
            if reply is not None:
                self._node.link.send(lambda: reply("set"))
        elif self._node.loop.now < until:
            self._node.after(LOOK_EVERY_S, lambda: self._answer_when_heard(seq, until, reply))
