"""A client in virtual time that submits through orchestrators: unique tasks, and bursts whose last counts.

It draws from a generator of its own, so that a seed's other events are the same without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from outrider.broker.codec import dump
from outrider.broker.messages import Submitted, TaskEnvelope
from outrider.broker.scheduling import SubmitOptions
from outrider.broker.schema import to_map
from tests.sim.fake_server import PRIORITIES, SUBJECTS, FakeServer
from tests.sim.loop import EPOCH
from tests.sim.wire import Node

ANSWER_WITHIN_S = 12.0
GIVES_UP = 0.2


@dataclass(slots=True)
class Wish:
    """One submit, asked again until somebody says what became of it."""

    number: int
    name: str
    """Of the unique task, or of the burst, that it belongs to."""
    envelope: TaskEnvelope
    options: SubmitOptions
    submit_at: float
    sent: list[float] = field(default_factory=list)
    answer: Submitted | None = None
    answered_at: float = 0.0
    is_given_up: bool = False

    @property
    def is_debounced(self) -> bool:
        return self.options.debounce_s is not None

    @property
    def done_at(self) -> float:
        """By when an orchestrator was done with it, unless it was late on its way."""
        return self.answered_at or max(self.sent) + ANSWER_WITHIN_S

    @property
    def is_over(self) -> bool:
        return self.answer is not None or self.is_given_up


def draw_wishes(random: Random, kinds: tuple[str, ...], until_s: float) -> list[Wish]:
    """Some unique names that are asked for again and again, and some bursts."""
    wishes: list[Wish] = []
    for number in range(random.randint(1, 2)):
        _draw_unique(random, f"unique-{number}", random.choice(kinds), until_s, wishes)
    for number in range(random.randint(1, 2)):
        _draw_burst(random, f"burst-{number}", random.choice(kinds), until_s, wishes)
    return wishes


def _draw_unique(random: Random, name: str, kind: str, until_s: float, wishes: list[Wish]) -> None:
    """By a key with a payload of its own each time, or by the payload itself."""
    has_key = random.random() < 0.5
    at = 0.0
    for _ in range(random.randint(3, 6)):
        # Often at the moment of the one before.
        at = at if at and random.random() < 0.4 else random.uniform(0.5, until_s * 0.8)
        delay_s = random.uniform(0.5, 4.0) if random.random() < 0.3 else None
        key = name if has_key else None
        options = SubmitOptions(delay_s=delay_s, unique=None if has_key else True, unique_key=key)
        own = {"number": len(wishes)} if has_key else {}
        _add(wishes, name, kind, own, options, random, at)


def _draw_burst(random: Random, name: str, kind: str, until_s: float, wishes: list[Wish]) -> None:
    """Submits one after the other, most of them before the quiet time of the one before is over."""
    quiet_s = random.choice((1.0, 2.0, 4.0))
    options = SubmitOptions(debounce_s=quiet_s, debounce_key=name)
    at = random.uniform(0.5, until_s * 0.5)
    for _ in range(random.randint(3, 7)):
        _add(wishes, name, kind, {"number": len(wishes)}, options, random, at)
        at += random.uniform(0.02, 1.5 * quiet_s)


def _add(
    wishes: list[Wish],
    name: str,
    kind: str,
    own: dict[str, Any],
    options: SubmitOptions,
    random: Random,
    submit_at: float,
) -> None:
    number = len(wishes)
    envelope = TaskEnvelope(
        kind,
        {"name": name} | own,
        f"q-{number}",
        random.choice(PRIORITIES),
        max_attempts=random.choice((2, 3)),
        submitted_at=EPOCH + submit_at,
    )
    wishes.append(Wish(number, name, envelope, options, submit_at))


class FakeAsker(Node):
    """Asks for all wishes. It does not die."""

    def __init__(self, server: FakeServer, wishes: list[Wish]) -> None:
        super().__init__(server.loop, server.new_link(), "asker")
        self._server = server
        self.wishes = wishes
        self.is_calm = False

    def start(self) -> None:
        super().start()
        for wish in self.wishes:
            self._plan(wish, wish.submit_at)

    def calm_down(self) -> None:
        self.is_calm = True

    @property
    def is_done(self) -> bool:
        return all(wish.is_over for wish in self.wishes)

    def _plan(self, wish: Wish, delay_s: float) -> None:
        self.after(delay_s, lambda: self._ask(wish))

    def _ask(self, wish: Wish) -> None:
        is_open = True
        wish.sent.append(self.loop.now)

        def finish(answer: object) -> None:
            nonlocal is_open
            if not is_open:
                return
            is_open = False
            self.loop.trace(self.name, f"{wish.envelope.task_id} {wish.name}: {answer}")
            if isinstance(answer, Submitted):
                wish.answer, wish.answered_at = answer, self.loop.now
            elif self.is_calm or not self.loop.chance(GIVES_UP):
                self._plan(wish, self.loop.random.uniform(0.2, 1.5))
            else:
                wish.is_given_up = True

        reply = self.link.reply_to(finish)
        body = dump(to_map(wish.envelope) | to_map(wish.options))
        self.link.send(lambda: self._server.publish(SUBJECTS.submit, body, reply))
        self.after(ANSWER_WITHIN_S, lambda: finish(None))
