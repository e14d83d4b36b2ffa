"""Twins of the orchestrator's feed.py and queue.py: how the ledger and the queue reach a simulated shell.

They follow the real files step by step, without asyncio; a change there wants the same change here.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.sim.fake_archive import as_message
from tests.sim.fake_jetstream import Delivery, Message
from tests.sim.fake_server import PRIORITIES, SUBJECTS, FakeServer, Feed, Pull
from tests.sim.wire import FEED, Node

PULL_EXPIRES_S = 30.0
PULL_SILENCE_S = 12.5

EVERYTHING = (SUBJECTS.all_ledger, SUBJECTS.all_members, SUBJECTS.all_control)
OTHERS = (SUBJECTS.agent_outcomes, SUBJECTS.all_members, SUBJECTS.all_control)


class SimFeed:
    """LedgerFeed: everything at first, then what others write, everything again when something stirs."""

    def __init__(
        self,
        server: FakeServer,
        node: Node,
        me: str,
        watch_s: float,
        on_stored: Callable[[Message], None],
        caught_up: Callable[[], None],
    ) -> None:
        self._server = server
        self._node = node
        self._own = f".orchestrator.{me}"
        self._watch_s = watch_s
        self._on_stored = on_stored
        self._caught_up = caught_up
        self._has_company = False
        self._is_recovered = False
        self._is_narrow = False
        self._watch = 0
        self._feed: Feed | None = None
        self._complete_to = self._recent = self._alone_until = 0
        self.last_seq = 0
        self.snapshot_seq = self.recovered_seq = 0
        """Where the folding began, and how far it had come when this orchestrator began to serve."""

    def begin(self) -> None:
        """Start from the newest snapshot, if it can be read now, and follow what comes after it."""
        if self._server.is_up and self._server.has_jetstream:
            kept = self._server.archive.newest()
            for stored in kept.entries:
                self._on_stored(as_message(stored))
            self.last_seq = self.snapshot_seq = kept.seq
        self.start()

    def start(self) -> None:
        """Open a push consumer after the last handled entry; the one before is forgotten."""
        if self._feed is not None:
            self._feed.is_open = False
        link = self._node.link
        filters = OTHERS if self._is_narrow else EVERYTHING
        feed = Feed(link, self._node.life, filters, self.last_seq, link.reply_to(lambda _: None))
        feed.reply = link.reply_to(lambda message: self._received(feed, message), FEED)
        self._feed = feed
        link.send(lambda: self._server.follow(feed))
        self._node.after(3.0, lambda: self._retry(feed))

    def _retry(self, feed: Feed) -> None:
        if self._feed is feed and self._node.link.is_up and not feed.is_made:
            self.start()

    def _received(self, feed: Feed, message: Message | None) -> None:
        if self._feed is not feed:
            return
        if message is None:
            self._all_handled()
        elif message.seq > self.last_seq:
            self.last_seq = message.seq
            if message.seq > self._alone_until or not message.subject.endswith(self._own):
                self._on_stored(message)

    def _all_handled(self) -> None:
        if not self._is_recovered:
            self._is_recovered, self.recovered_seq = True, self.last_seq
            self._caught_up()
        if not self._has_company and not self._is_narrow:
            self._is_narrow = True
            self._complete_to = self._recent = self.last_seq
            self._watch += 1
            self._keep_watch(self._watch)
            self.start()

    def _keep_watch(self, watch: int) -> None:
        """After a watch in which nothing stirred: nobody wrote what the narrow filter hides."""

        def over() -> None:
            if self._is_narrow and watch == self._watch:
                if self._node.link.is_up:
                    self._complete_to, self._recent = self._recent, self.last_seq
                self._keep_watch(watch)

        self._node.after(self._watch_s, over)

    def not_alone(self) -> None:
        self._has_company = True
        self._stir()

    def _stir(self) -> None:
        if self._is_narrow:
            self._is_narrow = False
            self._alone_until, self.last_seq = self.last_seq, self._complete_to
            self.start()

    def link_changed(self, *, is_up: bool) -> None:
        if is_up and self._is_narrow:
            self._stir()
        elif is_up:
            self.start()


class SimPuller:
    """Puller of pipeline.py: keeps a bounded number of messages of one consumer on their way."""

    def __init__(
        self, server: FakeServer, node: Node, consumer: str, on_pulled: Callable[[str, Delivery], None]
    ) -> None:
        self._server = server
        self._node = node
        self._consumer = consumer
        self._on_pulled = on_pulled
        self._heard_at = 0.0
        self._pulls: list[Pull] = []
        self.credit = 0

    @property
    def is_stale(self) -> bool:
        """Whether the requests died unheard; open ones are known by their heartbeats."""
        if not self.credit:
            return False
        now, link = self._node.loop.now, self._node.link
        if link.is_up and not link.is_black and any(self._server.is_open(pull) for pull in self._pulls):
            self._heard_at = now
        return now - self._heard_at > PULL_SILENCE_S

    def want(self, count: int) -> None:
        if self.is_stale:
            self.credit = 0
        missing = count - self.credit
        link = self._node.link
        if missing <= 0 or not link.is_up:
            return
        now = self._heard_at = self._node.loop.now
        self.credit += missing
        reply, until = link.reply_to(self._received), now + PULL_EXPIRES_S
        pull = Pull(self._consumer, link, self._node.life, reply, missing, until)
        self._pulls = [p for p in self._pulls if p.left and p.until > now] + [pull]
        link.send(lambda: self._server.pull(pull))
        self._node.after(PULL_EXPIRES_S + 0.01, lambda: self._expired(pull))

    def _expired(self, pull: Pull) -> None:
        """Status 408 with what is unfilled."""
        if pull in self._pulls:
            self._pulls.remove(pull)
            self.credit = max(0, self.credit - pull.left)

    def _received(self, delivery: Delivery) -> None:
        self._heard_at = self._node.loop.now
        self.credit = max(0, self.credit - 1)
        self._on_pulled(self._consumer, delivery)

    def reconnected(self) -> None:
        self.credit = 0
        self._pulls.clear()


class SimQueue:
    """TaskQueue: the pull loops of all kinds that agents have declared."""

    def __init__(
        self,
        server: FakeServer,
        node: Node,
        window: Callable[[str, int], int],
        on_pulled: Callable[[str, Delivery], None],
    ) -> None:
        self._server = server
        self._node = node
        self._window = window
        self._on_pulled = on_pulled
        self._pullers: dict[tuple[str, int], SimPuller] = {}
        self._asked: set[str] = set()

    def serve(self, kind: str) -> None:
        """Make the kind's consumers, and pull once the server has them."""
        if (kind, 0) in self._pullers or not self._node.link.is_up:
            return
        made = self._node.link.reply_to(lambda _: self._made(kind))

        def make() -> None:
            if self._server.has_jetstream:
                self._server.make_consumers(kind)
                made(None)

        self._node.link.send(make)

    def _made(self, kind: str) -> None:
        if (kind, 0) in self._pullers:
            return
        for priority in PRIORITIES:
            name = SUBJECTS.consumer(kind, priority)
            self._pullers[kind, priority] = SimPuller(self._server, self._node, name, self._on_pulled)
        self.top_up()

    def top_up(self) -> None:
        for (kind, priority), puller in self._pullers.items():
            room = self._window(kind, priority)
            if room - puller.credit > room // 4 or puller.is_stale:
                puller.want(room)

    def reconnected(self) -> None:
        for puller in self._pullers.values():
            puller.reconnected()
