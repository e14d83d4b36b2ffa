"""Clients in virtual time: they submit until they know that a task is accepted, and cancel."""

from __future__ import annotations

from dataclasses import dataclass

from outrider.broker.errors import OutriderError
from outrider.broker.messages import TaskEnvelope, TaskRequest
from tests.sim.by_hand import drive
from tests.sim.fake_jetstream import WRONG_SEQUENCE, PubAnswer
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.loop import EPOCH
from tests.sim.sim_effects import UNKNOWN, SimAppender
from tests.sim.sim_objects import SimObjects
from tests.sim.sim_requests import ENDED
from tests.sim.wire import Node

CANCEL_ANSWER_WITHIN_S = 6.0


@dataclass(slots=True)
class Order:
    """What a client wants of one task, and what it knows of it."""

    envelope: TaskEnvelope
    submit_at: float
    cancel_at: float | None = None
    is_malformed: bool = False
    body: bytes = b""
    """A large payload, which travels by reference."""
    accepted_at: float | None = None
    is_given_up: bool = False
    """The client does not know what became of it, and does not ask again."""
    cancel_asked_at: float | None = None
    cancel_answered_at: float | None = None

    @property
    def task_id(self) -> str:
        return self.envelope.task_id

    @property
    def deadline(self) -> float | None:
        """In virtual seconds."""
        return None if self.envelope.deadline_at is None else self.envelope.deadline_at - EPOCH


class FakeClient(Node):
    """One machine that submits all tasks of a run. It does not die: who is gone needs no promise."""

    def __init__(self, server: FakeServer, orders: list[Order]) -> None:
        super().__init__(server.loop, server.new_link(), "client")
        self._server = server
        self.orders = {order.task_id: order for order in orders}
        self._appender = SimAppender(server, self)
        self._objects = SimObjects(server, self, self._appender)
        self.is_calm = False

    def start(self) -> None:
        super().start()
        for order in self.orders.values():
            self._plan(order)

    def _plan(self, order: Order) -> None:
        self.after(order.submit_at, lambda: self._submit(order))
        if order.cancel_at is not None:
            self.after(order.cancel_at, lambda: self.cancel(order))

    def _submit(self, order: Order) -> None:
        """The payload first, if it is large, and then what refers to it."""
        ref = order.envelope.payload_ref
        if ref is None:
            self._publish(order)
            return

        def stored(result: object) -> None:
            if isinstance(result, OutriderError):
                self._submit_later(order)
            else:
                self._publish(order)

        drive(self._objects.put(ref, order.body), stored)

    def _submit_later(self, order: Order) -> None:
        self.after(self.loop.random.uniform(0.2, 2.0), lambda: self._submit(order))

    def _publish(self, order: Order) -> None:
        envelope = order.envelope

        def receipt(answer: PubAnswer) -> None:
            is_new = bool(answer.seq)
            if is_new or answer.err_code == WRONG_SEQUENCE:
                order.accepted_at = order.accepted_at or self.loop.now
            elif self._may_ask_again(order, answer):
                self._submit_later(order)
            else:
                order.is_given_up = True

        subject = SUBJECTS.task(envelope.kind, envelope.priority, envelope.task_id)
        body = b"\xc1" if order.is_malformed else envelope
        over = SUBJECTS.task_anywhere(envelope.task_id)
        self._appender.send(subject, body, receipt, 0, over)

    def _may_ask_again(self, order: Order, answer: PubAnswer) -> bool:
        """Some clients give up on a task whose fate they do not know: nothing was promised to them."""
        return answer is not UNKNOWN or self.is_calm or self.loop.chance(0.8)

    def cancel(self, order: Order) -> None:
        """Ask until somebody says what became of it."""
        if order.cancel_answered_at is not None:
            return
        is_open = True
        order.cancel_asked_at = order.cancel_asked_at or self.loop.now

        def finish(answer: object) -> None:
            nonlocal is_open
            if not is_open:
                return
            is_open = False
            if answer == ENDED:
                order.cancel_answered_at = self.loop.now
            else:
                self.after(self.loop.random.uniform(0.5, 2.0), lambda: self.cancel(order))

        reply = self.link.reply_to(finish)
        request = TaskRequest(order.task_id, "asked by the client")
        self.link.send(lambda: self._server.publish(SUBJECTS.cancel, request, reply))
        self.after(CANCEL_ANSWER_WITHIN_S, lambda: finish(None))
