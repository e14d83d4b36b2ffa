"""Somebody who sets, changes and removes limits in virtual time, and asks again until it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from outrider.broker.limits import ANY, Limit, LimitName, LimitsRequest
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.wire import Node

ANSWER_WITHIN_S = 6.0
KEYS = ("acme", "acme-2", "zed")
NAMES = ((ANY, ""), ("chat", ""), ("chat", "acme"), (ANY, "acme"), (ANY, ANY), (ANY, "acme*"), ("echo", ANY))


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What is asked for, and when; a limit that limits nothing is asked to be removed."""

    at: float
    limit: Limit


def draw_changes(random: Random, until_s: float) -> list[LimitChange]:
    """The limits of one run: some from the start, others changed or removed while it breaks."""
    changes = []
    for kind, key in random.sample(NAMES, random.randint(1, 3)):
        changes.append(LimitChange(0.0, _limit(random, kind, key)))
        while random.random() < 0.4:
            limit = _limit(random, kind, key) if random.random() < 0.7 else Limit(kind, key)
            changes.append(LimitChange(random.uniform(0.5, until_s), limit))
    return changes


def _limit(random: Random, kind: str, key: str) -> Limit:
    what = random.choice(("concurrency", "concurrency", "rate", "tokens", "all"))
    return Limit(
        kind,
        key,
        concurrency=random.randint(1, 3) if what in ("concurrency", "all") else None,
        rate=random.randint(1, 3) if what in ("rate", "all") else None,
        per_s=random.choice((0.5, 1.0, 2.0)),
        tokens_per_minute=random.choice((150, 400, 900)) if what in ("tokens", "all") else None,
    )


class FakeLimiter(Node):
    """One person with a list. In the end token budgets are lifted, since a minute is long."""

    def __init__(self, server: FakeServer, changes: list[LimitChange]) -> None:
        super().__init__(server.loop, server.new_link(), "limiter")
        self._server = server
        self._changes = changes
        self.is_calm = False

    def start(self) -> None:
        super().start()
        for change in self._changes:
            self._plan(change)

    def _plan(self, change: LimitChange) -> None:
        self.after(change.at, lambda: self._ask(change.limit, lambda: not self.is_calm))

    def _ask(self, limit: Limit, may_repeat: Callable[[], bool]) -> None:
        is_open = True

        def finish(answer: object) -> None:
            nonlocal is_open
            if not is_open:
                return
            is_open = False
            if answer != "set" and may_repeat():
                self.after(self.loop.random.uniform(0.2, 1.5), lambda: self._ask(limit, may_repeat))

        if limit.is_nothing:
            request = LimitsRequest(remove=LimitName(limit.kind, limit.key))
        else:
            request = LimitsRequest(set=limit)
        reply = self.link.reply_to(finish)
        self.link.send(lambda: self._server.publish(SUBJECTS.limits, request, reply))
        self.after(ANSWER_WITHIN_S, lambda: finish(None))

    def calm_down(self) -> None:
        """What was asked before may yet be stored; then every budget of tokens is taken back."""
        self.is_calm = True
        names = dict.fromkeys((c.limit.kind, c.limit.key) for c in self._changes if c.limit.tokens_per_minute)
        for kind, key in names:
            self._lift(Limit(kind, key))

    def _lift(self, limit: Limit) -> None:
        self.after(ANSWER_WITHIN_S, lambda: self._ask(limit, lambda: True))
