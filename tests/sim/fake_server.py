"""A nats-server in virtual time: core subjects with queue groups and no-responders, and the two streams.

It crashes and comes back with its streams, without connections, open pulls and acks on their way; it freezes;
JetStream alone may be away (503). Storing and handing out is fake_jetstream.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from outrider.broker.pipeline import Pulled
from outrider.broker.subjects import Subjects
from tests.sim.fake_archive import FakeArchive
from tests.sim.fake_jetstream import Delivery, FakeConsumer, FakeStream, Message, PubAnswer, matches
from tests.sim.fake_objects import FakeObjects
from tests.sim.loop import EPOCH, Action, Loop
from tests.sim.wire import Link, Weather

SUBJECTS = Subjects("t")
ACK_WAIT_S = 6.0
DUE = "due"
"""The consumer of what schedules deliver."""
PRIORITIES = (0, 5, 9)
"""Those that simulated tasks have; a consumer for each of the others would only cost time."""


class Unheard:
    """The answer that says: nobody listens to this subject, or no stream takes it."""


UNHEARD = Unheard()

Reply = Callable[[Any], None]
OnMessage = Callable[[str, Any, Reply | None], None]


@dataclass(slots=True)
class Subscription:
    """Somebody listens. It holds while the server knows the connection."""

    link: Link
    life: int
    subject: str
    on_message: OnMessage
    queue: str = ""


@dataclass(slots=True, eq=False)
class Pull:
    """An open pull request of one life of a process."""

    consumer: str
    link: Link
    life: int
    reply: Reply
    left: int
    until: float


@dataclass(slots=True)
class Feed:
    """A push consumer without acks: entries in order from `after`, while the connection holds."""

    link: Link
    life: int
    filters: tuple[str, ...]
    after: int
    reply: Reply
    is_open: bool = True
    is_made: bool = False


def _is_there(asked: Subscription | Pull | Feed) -> bool:
    """Whether the server still takes the process for connected."""
    return asked.link.is_known and asked.life == asked.link.node.life


@dataclass(slots=True)
class Watchers:
    """Whom the checks tell of every store and every removal, before anybody else knows."""

    stored: Callable[[Message], None] = lambda message: None
    removed: Callable[[Message], None] = lambda message: None


@dataclass(slots=True)
class FakeServer:
    """The one server of a run."""

    loop: Loop
    weather: Weather
    tasks: FakeStream = field(default_factory=lambda: FakeStream([SUBJECTS.all_tasks]))
    ledger: FakeStream = field(
        default_factory=lambda: FakeStream([SUBJECTS.all_ledger, SUBJECTS.all_members, SUBJECTS.all_control])
    )
    limits: FakeStream = field(
        default_factory=lambda: FakeStream([SUBJECTS.all_limits], keeps_last_only=True)
    )
    keys: FakeStream = field(default_factory=lambda: FakeStream([SUBJECTS.all_keys], keeps_last_only=True))
    later_stream: FakeStream = field(
        default_factory=lambda: FakeStream([SUBJECTS.all_later, SUBJECTS.all_due])
    )
    later: Callable[[Delivery], Pulled] | None = None
    """How a message of LATER looks to whoever pulls it, if there are schedules."""
    archive: FakeArchive = field(init=False)
    objects: FakeObjects = field(init=False)
    watchers: Watchers = field(default_factory=Watchers)
    is_up: bool = True
    is_frozen: bool = False
    has_jetstream: bool = True
    links: list[Link] = field(default_factory=list)
    consumers: dict[str, FakeConsumer] = field(default_factory=dict)
    _subscriptions: list[Subscription] = field(default_factory=list)
    _by_subject: dict[str, list[Subscription]] = field(default_factory=dict)
    _pulls: dict[str, list[Pull]] = field(default_factory=dict)
    _feeds: list[Feed] = field(default_factory=list)
    _wakes: dict[str, float] = field(default_factory=dict)
    _waiting: list[Action] = field(default_factory=list)
    troubled_at: float = 0.0
    renew_trouble: float = 0.0
    """Share of `renew` messages that are lost, late or come twice."""

    def __post_init__(self) -> None:
        self.archive = FakeArchive(self.ledger, self.loop.seed)
        self.objects = FakeObjects(SUBJECTS, self.loop.seed)

    def new_link(self) -> Link:
        link = Link(self.loop, self.weather, self.execute, lambda: self.is_up)
        self.links.append(link)
        return link

    def wall(self, at: float) -> float:
        """The server's clock, which is right."""
        return EPOCH + at

    def execute(self, action: Action) -> None:
        """Do what a client asks, as far as there is a server."""
        if self.is_up and self.is_frozen:
            self._waiting.append(action)
        elif self.is_up:
            action()

    # Faults

    def crash(self) -> None:
        """kill -9: streams stay, connections, open pulls and feeds are forgotten."""
        self.loop.trace("server", "crashes")
        self.is_up = self.is_frozen = False
        self.troubled_at = self.loop.now
        self._waiting.clear()
        self.forget_pulls()
        for link in self.links:
            link.cut(is_noticed=True)

    def restart(self) -> None:
        if self.is_up:
            return
        self.loop.trace("server", "is back")
        self.is_up = True
        self.troubled_at = self.loop.now
        for consumer in self.consumers.values():
            consumer.restart(self.loop.now)
        for link in self.links:
            self.loop.after(self.loop.random.uniform(0.05, 0.6), link.reconnect)

    def forget_pulls(self) -> None:
        """Amnesia: nobody is told that what was asked for will not come."""
        self._pulls.clear()

    def freeze(self) -> None:
        self.loop.trace("server", "freezes")
        self.is_frozen = True
        self.troubled_at = self.loop.now

    def thaw(self) -> None:
        self.is_frozen = False
        self.troubled_at = self.loop.now
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            self.execute(action)

    # Core NATS

    def subscribe(self, link: Link, subject: str, on_message: OnMessage, queue: str = "") -> None:
        """Listen for as long as this life of the process lasts, also after it reconnected."""
        self._subscriptions = [s for s in self._subscriptions if s.life == s.link.node.life]
        self._subscriptions.append(Subscription(link, link.node.life, subject, on_message, queue))
        self._by_subject.clear()

    def unsubscribe(self, link: Link, subject: str) -> None:
        self._subscriptions = [s for s in self._subscriptions if (s.link, s.subject) != (link, subject)]
        self._by_subject.clear()

    def publish(self, subject: str, data: Any, reply: Reply | None = None) -> None:
        """Core publish: to all who listen, one of each queue group; says so when nobody does."""
        hearers = self._hearers(subject)
        if not hearers and reply is not None:
            reply(UNHEARD)
        for hearer in hearers:
            self._hand(hearer, subject, data, reply)

    def _hand(self, to: Subscription, subject: str, data: Any, reply: Reply | None) -> None:
        to.link.deliver(lambda: to.link.node.run(to.life, lambda: to.on_message(subject, data, reply)))

    def _hearers(self, subject: str) -> list[Subscription]:
        known = self._by_subject.get(subject)
        if known is None:
            known = [s for s in self._subscriptions if matches(s.subject, subject)]
            self._by_subject[subject] = known
        there = [s for s in known if _is_there(s)]
        groups: dict[str, list[Subscription]] = {}
        for s in there:
            groups.setdefault(s.queue, []).append(s)
        chosen = groups.pop("", [])
        return chosen + [self.loop.random.choice(members) for members in groups.values()]

    # JetStream

    def append(
        self, subject: str, data: Any, reply: Reply, expect: int | None = None, over: str = ""
    ) -> None:
        """A publish into a stream; the receipt may get lost although the message is stored."""
        if not self.has_jetstream:
            reply(UNHEARD)
            return
        stream = next(s for s in self._streams() if s.takes(subject))
        answer = stream.publish(subject, data, self.loop.now, expect, over)
        if answer.seq in stream.messages:
            self._stored(stream, stream.messages[answer.seq])
        if self.loop.chance(self.weather.blind):
            self.loop.trace("server", f"the receipt for {subject} gets lost: {answer}")
        else:
            reply(answer)

    def _streams(self) -> tuple[FakeStream, ...]:
        return (self.tasks, self.ledger, self.limits, self.keys, self.later_stream, self.objects)

    def _stored(self, stream: FakeStream, message: Message) -> None:
        name = "tasks" if stream is self.tasks else message.subject.split(".")[1]
        self.loop.trace(name, f"{message.seq} {message.subject} {message.data}")
        self.watchers.stored(message)
        if stream is self.tasks:
            for name, consumer in self.consumers.items():
                if matches(consumer.filter, message.subject):
                    self._pump(name)
            return
        for feed in self._feeds:
            self._push(feed, message)
        if matches(SUBJECTS.all_ledger, message.subject):
            live = message.subject.replace(".ledger.", ".live.", 1)
            self.publish(live, message.data)

    def read(self, reply: Reply, find: Callable[[FakeStream, FakeStream], Any]) -> None:
        """A direct get: from TASKS and LEDGER as they are now."""
        if self.has_jetstream:
            reply(find(self.tasks, self.ledger))
        else:
            reply(UNHEARD)

    def delete_task(self, seq: int, reply: Reply) -> None:
        """Remove one message of TASKS by its sequence."""
        message = self.tasks.at(seq)
        if message is not None:
            self.watchers.removed(message)
            self.tasks.delete(seq)
        reply(PubAnswer(seq))

    def follow(self, feed: Feed) -> None:
        """A new push consumer: what is stored already comes first."""
        feed.is_made = True
        self._feeds = [f for f in self._feeds if f.is_open and _is_there(f) and f is not feed]
        self._feeds.append(feed)
        stream = self.limits if self.limits.takes(feed.filters[0]) else self.ledger
        for message in list(stream.messages.values()):
            if message.seq > feed.after:
                self._push(feed, message)
        feed.reply(None)

    def _push(self, feed: Feed, message: Message) -> None:
        if (
            feed.is_open
            and _is_there(feed)
            and any(matches(wanted, message.subject) for wanted in feed.filters)
        ):
            feed.reply(message)

    def make_consumers(self, kind: str) -> None:
        for priority in PRIORITIES:
            name = SUBJECTS.consumer(kind, priority)
            if name not in self.consumers:
                self.consumers[name] = FakeConsumer(self.tasks, SUBJECTS.tasks_of(kind, priority), ACK_WAIT_S)

    def pull(self, pull: Pull) -> None:
        """Hand out what is there, and keep the request open for what comes."""
        self._pulls.setdefault(pull.consumer, []).append(pull)
        self._pump(pull.consumer)

    def is_open(self, pull: Pull) -> bool:
        """Whether the client would still hear heartbeats for this request."""
        return self.is_up and pull in self._pulls.get(pull.consumer, ()) and pull.until > self.loop.now

    def pump_all(self) -> None:
        for name in self.consumers:
            self._pump(name)

    def _pump(self, name: str) -> None:
        if not (self.is_up and self.has_jetstream):
            return
        now = self.loop.now
        waiting = [p for p in self._pulls.get(name, ()) if p.until > now and _is_there(p)]
        self._pulls[name] = waiting
        while waiting:
            pull = waiting[0]
            for delivery in self.consumers[name].pull(pull.left, now):
                self.loop.trace("tasks", f"{delivery} for {pull.link.node.name}")
                pull.left -= 1
                pull.reply(delivery)
            if pull.left:
                break
            waiting.pop(0)
        self._wake(name)

    def _wake(self, name: str) -> None:
        when = self.consumers[name].wake_at()
        planned = self._wakes.get(name, 0.0)
        if when is not None and self._pulls.get(name) and not self.loop.now < planned <= when:
            self._wakes[name] = when
            self.loop.at(when, lambda: self._pump(name))

    def acknowledge(self, name: str, delivery: Delivery, word: str, delay_s: float = 0.0) -> None:
        """`+ACK`, `-NAK` or `+WPI` of one delivery."""
        consumer, seq, now = self.consumers[name], delivery.message.seq, self.loop.now
        if word == "+WPI":
            consumer.progress(seq, now)
            return
        if word == "-NAK":
            consumer.nak(seq, now, delay_s)
        else:
            if name != DUE and self.tasks.at(seq) is not None:
                self.watchers.removed(delivery.message)
            consumer.ack(seq)
        self._pump(name)
