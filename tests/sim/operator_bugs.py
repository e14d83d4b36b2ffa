"""Deliberate defects in what operators rely on, and in whom the end of an attempt is blamed on."""

from __future__ import annotations

import itertools
from typing import Any

from outrider.ledger import control, fold
from outrider.ledger.control import Control
from outrider.ledger.entries import Ended
from outrider.ledger.fold import Story
from outrider.ledger.pauses import Pauses
from outrider.orchestrator import attempts, health
from outrider.orchestrator.letters import LetterIndex
from tests.sim import sim_feed
from tests.sim.fake_server import SUBJECTS
from tests.sim.planting import Swap, bug, nothing
from tests.sim.sim_desks import Say, SimDesks


@bug
def pauses_not_heeded() -> list[Swap]:
    return [(Pauses, "covers", lambda self, kind: False)]


@bug
def pauses_of_others_not_heard() -> list[Swap]:
    everything = (SUBJECTS.all_ledger, SUBJECTS.all_members)
    return [(sim_feed, "EVERYTHING", everything), (sim_feed, "OTHERS", sim_feed.OTHERS[:2])]


@bug
def older_word_about_a_pause_counts() -> list[Swap]:
    def apply(self: Pauses, seq: int, said: Control) -> None:
        if said.kind:
            self.kinds.setdefault(said.kind, (seq, said.type == "paused"))
        else:
            self.fleet = (seq, said.type == "paused")

    return [(Pauses, "apply", apply)]


@bug
def requeued_under_a_new_id_each_time() -> list[Swap]:
    numbers = itertools.count()
    return [(control, "requeued_id", lambda task_id, seq: f"rq-{seq}-{next(numbers)}")]


@bug
def requeued_is_said_before_the_task_is_stored() -> list[Swap]:
    real = SimDesks._place

    def place(self: SimDesks, new: Any, story: Story, say: Say) -> None:
        fact = Control("requeued", new.kind, story.task_id, story.epoch, new.task_id)
        self.record(fact, lambda _: real(self, new, story, say), "")

    return [(SimDesks, "_place", place)]


@bug
def settled_letters_come_back() -> list[Swap]:
    return [(LetterIndex, "settle", nothing)]


@bug
def dead_letters_of_others_not_listed() -> list[Swap]:
    return [(attempts, "died", nothing)]


@bug
def poison_not_counted() -> list[Swap]:
    real = Story._charge

    def charge(self: Story, entry: Any) -> bool:
        is_charged = real(self, entry)
        self.lost_on = ()
        return is_charged

    return [(Story, "_charge", charge)]


@bug
def being_stopped_is_charged() -> list[Swap]:
    return [(fold, "is_charged", lambda entry: not isinstance(entry, Ended) or entry.charged)]


@bug
def leaving_in_order_is_charged() -> list[Swap]:
    real = health.lose_all

    def lose_all(*args: Any, **named: Any) -> None:
        real(*args, **named | {"is_charged": True})

    return [(health, "lose_all", lose_all)]
