"""LATER in virtual time: delayed tasks and schedules that repeat, fired by the server and judged here.

As the real server does, one that was killed fires a repeating schedule once more after its restart, and what
came due while it was away once in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import Pulled
from outrider.broker.scheduling import SubmitOptions
from outrider.orchestrator.scheduled import Scheduled
from tests.sim.checks import LedgerChecks
from tests.sim.fake_client import Order
from tests.sim.fake_jetstream import Delivery, FakeConsumer, Message, Planned
from tests.sim.fake_server import ACK_WAIT_S, DUE, PRIORITIES, SUBJECTS, FakeServer
from tests.sim.loop import EPOCH

LOOK_EVERY_S = 0.2


@dataclass(slots=True)
class Schedule:
    """One schedule, when it is to fire, and what became of that."""

    envelope: TaskEnvelope
    options: SubmitOptions
    times: list[float]
    fires: int = 0
    """Those that count: a repeat does not."""
    tasks: set[str] = field(default_factory=set)


def draw_schedules(random: Random, kinds: tuple[str, ...], until_s: float) -> list[Schedule]:
    """One to three schedules, some of which repeat."""
    found = []
    for number in range(random.randint(1, 3)):
        first, every_s = random.uniform(1.0, until_s * 0.7), random.uniform(3.0, 6.0)
        is_cron = random.random() < 0.6
        times = [first + n * every_s for n in range(random.randint(2, 4) if is_cron else 1)]
        envelope = TaskEnvelope(
            random.choice(kinds), None, f"s-{number}", random.choice(PRIORITIES), submitted_at=EPOCH
        )
        options = SubmitOptions(cron="* * * * *") if is_cron else SubmitOptions(run_at=EPOCH + first)
        found.append(Schedule(envelope, options, times))
    return found


class FakeLater:
    """The server's side of schedules, and the judge of what the shells made of them."""

    def __init__(self, server: FakeServer, ledger: LedgerChecks, schedules: list[Schedule]) -> None:
        self._server = server
        self._ledger = ledger
        self._schedules = schedules
        self._stream = server.later_stream
        self.expects_more: Callable[[], bool] = lambda: False
        """Whether somebody may yet submit a task that waits for its time."""
        self._next_at: dict[int, float] = {}
        self._was_up = True
        server.consumers[DUE] = FakeConsumer(self._stream, SUBJECTS.all_due, ACK_WAIT_S)

    def start(self) -> None:
        self._server.loop.after(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        if self.is_over and not self.expects_more():
            return
        self._server.loop.after(LOOK_EVERY_S, self._look)
        server = self._server
        is_well = server.is_up and not server.is_frozen and server.has_jetstream
        if is_well:
            for schedule in self._schedules:
                self._look_at(schedule, is_back=not self._was_up)
            self._look_at_submitted()
        # What froze or lost its leader remembers what it fired.
        self._was_up = server.is_up and (self._was_up or is_well)

    def _look_at(self, schedule: Schedule, *, is_back: bool) -> None:
        now = self._server.loop.now
        is_due = bool(schedule.times) and schedule.times[0] <= now
        while schedule.times and schedule.times[0] <= now:
            schedule.times.pop(0)
        next_at = schedule.times[0] if schedule.times else now + 60.0
        is_cron = schedule.options.cron is not None
        if is_due:
            schedule.fires += 1
        if is_due or (is_back and is_cron and schedule.fires and now < next_at):
            self._fire(schedule, next_at)

    def _look_at_submitted(self) -> None:
        """What orchestrators put there goes out once, when its time has come."""
        now = self._server.loop.now
        for message in self._stream.all_of(SUBJECTS.all_later):
            planned = message.data
            if isinstance(planned, Planned) and planned.at <= EPOCH + now:
                self._stream.delete(message.seq)
                self._publish(planned.target, planned.data, now + 60.0)

    def _fire(self, schedule: Schedule, next_at: float) -> None:
        envelope = schedule.envelope
        subject = SUBJECTS.due(envelope.kind, envelope.priority, envelope.task_id)
        self._publish(subject, Scheduled(envelope, schedule.options).body(), next_at)

    def _publish(self, subject: str, body: bytes, next_at: float) -> None:
        seq = self._stream.publish(subject, body, self._server.loop.now).seq
        self._server.loop.trace("later", f"{seq} {subject}")
        self._next_at[seq] = next_at
        self._server.pump_all()

    def pulled(self, delivery: Delivery) -> Pulled:
        """The message as the puller hands it over."""
        message = delivery.message
        at_ns = int((EPOCH + message.stored_at) * 1e9)
        ack_to = f"$JS.ACK.{SUBJECTS.later_stream}.due.{delivery.count}.{message.seq}.{message.seq}.{at_ns}.0"
        next_at = datetime.fromtimestamp(EPOCH + self._next_at[message.seq], UTC).isoformat()
        return Pulled(message.subject, message.data, ack_to, {"Nats-Schedule-Next": next_at})

    # What must hold

    @property
    def is_over(self) -> bool:
        """Everything fired, and was taken."""
        return not any(schedule.times for schedule in self._schedules) and not self._stream.messages

    def stored(self, message: Message) -> None:
        """Before the ledger's checks see it: a task that a schedule made is one that they do not know."""
        envelope = message.data
        if not self._schedules or not isinstance(envelope, TaskEnvelope) or envelope.requeued_from:
            return
        for schedule in self._schedules:
            schedule_id = schedule.envelope.task_id
            if envelope.task_id == schedule_id or envelope.task_id.startswith(f"{schedule_id}-"):
                self._made(schedule, envelope)

    def _made(self, schedule: Schedule, envelope: TaskEnvelope) -> None:
        now = self._server.loop.now
        self._ledger.orders.setdefault(envelope.task_id, Order(envelope, now, accepted_at=now))
        schedule.tasks.add(envelope.task_id)
        made = f"{schedule.tasks} of {schedule.fires}"
        self._ledger.must(len(schedule.tasks) <= schedule.fires, "no fire counts twice", made)

    def check_end(self) -> None:
        for schedule in self._schedules:
            made = f"{schedule.tasks} of {schedule.fires}"
            self._ledger.must(len(schedule.tasks) == schedule.fires, "no fire is lost", made)
