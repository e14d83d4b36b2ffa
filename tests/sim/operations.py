"""Random lists of operations on a fleet's two streams, with the answers that the fake JetStream gives.

The list is drawn while the fake runs it, so that it refers to what is there: sequences, deliveries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from outrider.broker.subjects import Subjects
from tests.sim.fake_jetstream import Delivery, FakeConsumer, FakeStream, Message

KIND = "chat"
PRIORITIES = (0, 5)
TASKS = ("t0", "t1", "t2", "t3")
ACK_WAIT_S = 1.0
LONG_DELAY_S = 60.0

Answer = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call, with everything that it needs, and what the fake answered."""

    name: str
    subject: str = ""
    expect: int | None = None
    over: str = ""
    seq: int = 0
    consumer: str = ""
    batch: int = 0
    word: str = ""
    delay_s: float = 0.0
    handed_out: int = 0
    """Which delivery of the list is meant, counted from 0."""
    answer: Answer = ()


def of_messages(messages: list[Message]) -> Answer:
    return tuple((message.seq, message.subject, message.data) for message in messages)


def of_deliveries(deliveries: list[Delivery]) -> Answer:
    return tuple((d.message.seq, d.message.subject, d.count) for d in deliveries)


@dataclass(slots=True)
class Writer:
    """Draws operations and runs them on the fake."""

    random: Random
    subjects: Subjects
    now: float = 0.0
    handed_out: list[tuple[str, Delivery]] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    tasks: FakeStream = field(init=False)
    ledger: FakeStream = field(init=False)
    consumers: dict[str, FakeConsumer] = field(init=False)

    def __post_init__(self) -> None:
        s = self.subjects
        self.tasks = FakeStream([s.all_tasks])
        self.ledger = FakeStream([s.all_ledger, s.all_members, s.all_control])
        self.consumers = {
            s.consumer(KIND, p): FakeConsumer(self.tasks, s.tasks_of(KIND, p), ACK_WAIT_S) for p in PRIORITIES
        }

    def draw(self, count: int, *, restarts: bool) -> list[Operation]:
        """A list of operations; one in four waits for redelivery, and so do all that restart the server."""
        does_expire = restarts or self.random.random() < 0.25
        for _ in range(count):
            self.now += 0.001
            self._step()
        if restarts:
            for consumer in self.consumers.values():
                consumer.restart(self.now)
            self.operations.append(Operation("restart"))
        if does_expire:
            self._expire()
        for _ in range(count // 2):
            self.now += 0.001
            self._step()
        self._read_all()
        return self.operations

    def _step(self) -> None:
        steps = [self._submit, self._submit, self._record, self._record, self._record]
        steps += [self._pull, self._pull, self._acknowledge, self._acknowledge, self._read, self._delete]
        self.random.choice(steps)()

    def _submit(self) -> None:
        task_id, priority = self.random.choice(TASKS), self.random.choice(PRIORITIES)
        over = self.subjects.task_anywhere(task_id)
        self._publish(self.tasks, self.subjects.task(KIND, priority, task_id), over)

    def _record(self) -> None:
        task_id, s = self.random.choice(TASKS), self.subjects
        subject = self.random.choice((s.ledger_orchestrator(task_id, "o1"), s.ledger_agent(task_id, "a1")))
        self._publish(self.ledger, subject, s.story(task_id))

    def _publish(self, stream: FakeStream, subject: str, over: str) -> None:
        last = stream.all_of(over)[-1:]
        right = last[0].seq if last else 0
        expect = self.random.choice((None, 0, right, right, right, right + 1, max(0, right - 1)))
        answer = stream.publish(subject, subject.encode(), self.now, expect, over)
        found: Answer = (answer.seq, answer.err_code)
        self.operations.append(Operation("publish", subject, expect, over, answer=found))

    def _pull(self) -> None:
        name = self.random.choice(sorted(self.consumers))
        batch = self.random.randint(1, 3)
        found = self.consumers[name].pull(batch, self.now)
        self.handed_out += [(name, delivery) for delivery in found]
        self.operations.append(Operation("pull", consumer=name, batch=batch, answer=of_deliveries(found)))

    def _acknowledge(self) -> None:
        if not self.handed_out:
            return
        index = self.random.randrange(len(self.handed_out))
        name, delivery = self.handed_out[index]
        consumer, seq = self.consumers[name], delivery.message.seq
        word = self.random.choice(("+ACK", "+ACK", "-NAK", "-NAK", "+WPI"))
        delay_s = self.random.choice((0.0, LONG_DELAY_S)) if word == "-NAK" else 0.0
        if word == "+ACK":
            consumer.ack(seq)
        elif word == "-NAK":
            consumer.nak(seq, self.now, delay_s)
        else:
            consumer.progress(seq, self.now)
        self.operations.append(Operation("acknowledge", word=word, delay_s=delay_s, handed_out=index))

    def _delete(self) -> None:
        if self.tasks.messages and self.random.random() < 0.3:
            seq = self.random.choice(sorted(self.tasks.messages))
            self.operations.append(Operation("delete", seq=seq, answer=(self.tasks.delete(seq),)))

    def _read(self) -> None:
        task_id, s = self.random.choice(TASKS), self.subjects
        story, seq = s.story(task_id), self.random.randint(1, self.ledger.last_seq + 1)
        at = self.ledger.at(seq)
        for operation in (
            Operation("all_of", story, answer=of_messages(self.ledger.all_of(story))),
            Operation("last_of", story, answer=of_messages(self.ledger.last_of(story))),
            Operation("at", seq=seq, answer=of_messages([at] if at else [])),
        ):
            self.operations.append(operation)

    def _expire(self) -> None:
        """Let every ack_wait pass, and take what goes out again."""
        self.now += ACK_WAIT_S + 0.1
        self.operations.append(Operation("pass_ack_wait"))
        for name, consumer in sorted(self.consumers.items()):
            found = consumer.pull(100, self.now)
            self.handed_out += [(name, delivery) for delivery in found]
            answer = tuple(sorted(of_deliveries(found)))  # type: ignore[type-var]
            self.operations.append(Operation("expired", consumer=name, batch=100, answer=answer))

    def _read_all(self) -> None:
        everything = of_messages(list(self.tasks.messages.values()))
        self.operations.append(Operation("waiting", self.subjects.all_tasks, answer=everything))
