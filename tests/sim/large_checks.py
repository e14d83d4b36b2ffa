"""What must hold of payloads and results that lie in the object store, and what is done to them there.

Whether an object is there is told from the stream itself, not by the product's own reading.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from outrider.broker.codec import dump
from outrider.broker.messages import Assignment, TaskEnvelope
from outrider.broker.object_ref import ref_of
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import parse_task
from outrider.ledger.entries import Closed
from tests.sim.checks import LedgerChecks
from tests.sim.fake_client import Order
from tests.sim.fake_jetstream import Message
from tests.sim.fake_server import FakeServer
from tests.sim.scenario import Scenario
from tests.sim.temper import POISON

KEPT_SHARE = 0.75
"""An object is used again in the first quarter of its life only."""
ON_THE_WAY_S = 20.0
"""From the storing of an object to that of the task that names it, when the link is away in between."""
SHORTLY_S = 3.0
DELAYING = frozenset({"partition_client", "crash_server", "freeze_server", "jetstream_gap"})
EXPIRE_EVERY_S = 1.0


def enlarge(random: Random, orders: list[Order]) -> None:
    """Some tasks of a world get large payloads, a few of them the same one."""
    bodies = [dump(f"{n} " * random.randint(10, 60)) for n in range(random.randint(2, 4))]
    for order in orders:
        if order.envelope.payload != POISON and not order.is_malformed and random.random() < 0.6:
            order.body = random.choice(bodies)
            order.envelope = replace(order.envelope, payload=None, payload_ref=ref_of(order.body))


class LargeChecks:
    """Harms objects while the faults last, and judges what becomes of the tasks that name them."""

    def __init__(self, server: FakeServer, ledger: LedgerChecks, random: Random, scenario: Scenario) -> None:
        self._server = server
        self._ledger = ledger
        self._random = random
        self._is_skewed = scenario.is_skewed
        is_delayed = not DELAYING.isdisjoint(scenario.faults) or server.weather.is_bad
        self._on_the_way_s = ON_THE_WAY_S if is_delayed else SHORTLY_S
        self._queued_at: dict[str, float] = {}
        self._harms = random.choice((0, 0, 1, 3))

    def start(self, until_s: float) -> None:
        self._expire()
        for _ in range(self._harms):
            self._server.loop.after(self._random.uniform(1.0, until_s), self._server.objects.hurt_one)

    def _expire(self) -> None:
        self._server.objects.expire(self._server.loop.now)
        self._server.loop.after(EXPIRE_EVERY_S, self._expire)

    def _order(self, task_id: str) -> Order | None:
        order = self._ledger.orders.get(task_id)
        return order if order is not None and order.envelope.payload_ref is not None else None

    def got(self, given: Assignment, payload: Any) -> None:
        """A handler starts with what was fetched for it."""
        ref = given.payload_ref
        self._ledger.must(ref == ref_of(dump(payload)), "a handler gets what was submitted", given.task_id)

    def stored(self, message: Message) -> None:
        if isinstance(message.data, TaskEnvelope):
            self._queued_at.setdefault(parse_task(message.subject)[2], self._server.loop.now)
        elif isinstance(message.data, Succeeded):
            self._judge_result(message.data)
        elif isinstance(message.data, Failed):
            self._judge_failure(message.data)
        elif isinstance(message.data, Closed) and message.data.type == "dead":
            self._judge_reason(message.data)

    def _judge_result(self, entry: Succeeded) -> None:
        ref = entry.result_ref
        if ref is not None:
            objects = self._server.objects
            is_there = ref.sha256 in objects.hurt | objects.aged or objects.holds(ref)
            self._ledger.must(is_there, "a recorded result can be fetched", entry)

    def _judge_failure(self, entry: Failed) -> None:
        """An attempt ends for want of its payload only if that was lost, damaged, or older than promised."""
        order = self._order(entry.task_id)
        ref = order.envelope.payload_ref if order is not None else None
        if order is None or ref is None or ref.sha256 not in entry.error.message:
            return
        error, objects = entry.error, self._server.objects
        is_final = error.error_class is ErrorClass.INVALID_INPUT and not error.retryable
        self._ledger.must(is_final, "what is gone is not tried again", entry)
        if ref.sha256 in objects.hurt or self._is_skewed or order.envelope.requeued_from is not None:
            return
        waited_s = self._server.loop.now - self._queued_at[entry.task_id]
        is_old = bool(objects.max_age_s) and waited_s > KEPT_SHARE * objects.max_age_s - self._on_the_way_s
        self._ledger.must(is_old, "what was stored with a task is found", f"{waited_s} {entry}")

    def _judge_reason(self, entry: Closed) -> None:
        """Who gives a task up for its payload says so."""
        order, last = self._order(entry.task_id), self._ledger.case(entry.task_id)
        ref = order.envelope.payload_ref if order is not None else None
        errors = entry.errors
        if ref is None or not errors or ref.sha256 not in errors[-1].message or last.lost_on:
            return
        self._ledger.must(ref.sha256 in entry.reason, "a task without its payload says why it ended", entry)
