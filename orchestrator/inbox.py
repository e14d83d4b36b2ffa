"""NATS messages become events of the core: decoding and converting at the door, and nothing else."""

from __future__ import annotations

import logging
from typing import Any

from outrider.broker.clock import Clock
from outrider.broker.codec import MAX_ENVELOPE_BYTES, decode, load
from outrider.broker.errors import DecodeError, OutriderError, error_from_wire
from outrider.broker.facts import facts_of
from outrider.broker.follower import Stored
from outrider.broker.messages import AssignAnswer, Heartbeat, Pulse, TaskEnvelope
from outrider.broker.pipeline import Pulled
from outrider.broker.routing import RouteAnswer, RouteReason
from outrider.broker.schema import from_map
from outrider.broker.subjects import parse_agent, parse_chunk, parse_task
from outrider.ledger.control import decode_control
from outrider.ledger.entries import Assigned, Blocked, decode_member
from outrider.ledger.reader import record_of
from outrider.orchestrator import events

log = logging.getLogger(__name__)


class Door:
    """Turns what arrives into events; instants become the orchestrator's own monotonic time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def monotonic(self, wall: float | None) -> float | None:
        """A wall-clock instant on the monotonic clock, as far as the two agree now."""
        return None if wall is None else self._clock.now() + wall - self._clock.wall()

    def pulled(self, pulled: Pulled) -> tuple[events.Event, TaskEnvelope | None]:
        """A message of the work queue, with its envelope when it can be read."""
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time ns>.<pending>
        tokens = pulled.ack_to.split(".")
        stored_at, deliveries = int(tokens[-2]) / 1e9, int(tokens[-5])
        kind, priority, task_id = parse_task(pulled.subject)
        try:
            envelope = decode(TaskEnvelope, pulled.data, MAX_ENVELOPE_BYTES).check()
            if (envelope.task_id, envelope.kind, envelope.priority) != (task_id, kind, priority):
                raise DecodeError("the body speaks of another task, kind or priority than its subject")
        except OutriderError as error:
            return events.TaskUnreadable(task_id, kind, priority, error.message), None
        now, large = self._clock.now(), envelope.payload_ref
        event = events.TaskPulled(
            task_id,
            kind,
            priority,
            facts_of(envelope.payload, len(pulled.data) if large is None else large.size),
            envelope.requires,
            envelope.max_attempts,
            envelope.timeout_s,
            self.monotonic(envelope.deadline_at),
            min(now, now + stored_at - self._clock.wall()),
            envelope.waits,
            envelope.limit_key,
            deliveries,
            envelope.hedge is True,
        )
        return event, envelope

    def entry(self, stored: Stored) -> events.Event | None:
        """An entry or member of the ledger; None when it cannot be read."""
        try:
            if ".member." in stored.subject:
                return events.MemberStored(decode_member(stored.data))
            if ".control." in stored.subject:
                return events.ControlStored(decode_control(stored.data), stored.seq)
            record = record_of(stored)
        except OutriderError as error:
            log.warning("ledger entry %d is passed over: %s", stored.seq, error.message)
            return None
        deadline = None
        if isinstance(record.entry, (Assigned, Blocked)) and record.entry.envelope is not None:
            deadline = self.monotonic(record.entry.envelope.deadline_at)
        return events.EntryStored(record, self.monotonic(stored.stored_at) or 0.0, deadline)

    def heartbeat(self, subject: str, data: bytes) -> events.Event | None:
        """A heartbeat, or the answer to a ping; None when it cannot be read."""
        try:
            beat = decode(Heartbeat, data)
            if parse_agent(subject) != beat.agent_id:
                raise DecodeError("a heartbeat may speak of its own agent only")
        except OutriderError as error:
            log.warning("heartbeat on %s is passed over: %s", subject, error.message)
            return None
        return beat_event(beat)

    def assign_answer(self, message: Any) -> events.Event:
        """The answer to an assignment, read from `<inbox>.<task_id>.<epoch>`."""
        task_id, epoch = message.subject.split(".")[-2:]
        if is_unheard(message):
            return events.AssignUnheard(task_id, int(epoch))
        try:
            answer = decode(AssignAnswer, message.data)
        except OutriderError as error:
            return events.AssignAnswered(task_id, int(epoch), False, f"unreadable answer: {error.message}")
        return events.AssignAnswered(task_id, int(epoch), answer.accepted, answer.reason)

    def route_answer(self, number: int, message: Any) -> events.Event:
        """The router's choices, or why there are none."""
        if is_unheard(message):
            return events.RouteFailed(number, RouteReason.FALLBACK_NO_ROUTER)
        try:
            body = load(message.data)
            error = error_from_wire(body)
            if error is not None:
                raise error
            answer = from_map(RouteAnswer, body)
        except OutriderError as error:
            log.warning("the router's answer is not usable: %s", error.message)
            return events.RouteFailed(number, RouteReason.FALLBACK_BAD_ANSWER)
        return events.Routed(number, answer.choices, answer.model, answer.held)

    def chunk(self, subject: str) -> events.Event:
        agent_id, task_id, attempt = parse_chunk(subject)
        return events.ProgressSeen(task_id, attempt, agent_id)

    def pulse(self, data: bytes) -> events.PulseHeard | None:
        try:
            pulse = decode(Pulse, data)
        except OutriderError as error:
            log.warning("a pulse is passed over: %s", error.message)
            return None
        return events.PulseHeard(pulse.orchestrator, pulse.stopping)


def is_unheard(message: Any) -> bool:
    """Whether NATS says that nobody listened to a request."""
    return not message.data and bool(message.headers) and message.headers.get("Status") == "503"


def beat_event(beat: Heartbeat) -> events.AgentBeat:
    """A heartbeat as the core hears of it."""
    return events.AgentBeat(
        beat.agent_id,
        beat.instance,
        beat.state,
        beat.slots,
        frozenset(beat.running),
        frozenset(beat.spooled),
        beat.kinds,
        beat.labels,
    )
