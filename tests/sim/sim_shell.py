"""Twin of the orchestrator's shell.py and inbox.py: the real core, fed and obeyed in virtual time.

It follows the real files step by step, without asyncio; a change there wants the same change here.
Between any two steps it may crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from outrider.broker.facts import facts_of
from outrider.broker.messages import Heartbeat, Pulse, TaskEnvelope
from outrider.broker.subjects import parse_chunk, parse_task
from outrider.ledger.control import Control
from outrider.ledger.entries import Assigned, Blocked, Member
from outrider.ledger.fold import Record
from outrider.orchestrator import events, instructions
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.core import Core
from outrider.orchestrator.inbox import Door, beat_event
from outrider.orchestrator.queue import HOLD_EVERY_S
from tests.sim.fake_jetstream import Delivery, Message
from tests.sim.fake_server import SUBJECTS, FakeServer, Reply
from tests.sim.sim_desks import SimDesks
from tests.sim.sim_due import SimDue
from tests.sim.sim_effects import Held, SimEffects, Wires
from tests.sim.sim_feed import SimFeed, SimQueue
from tests.sim.sim_limits import SimLimits
from tests.sim.sim_requests import SimRequests
from tests.sim.sim_submit import SimSubmit
from tests.sim.sim_sweep import SimSweep
from tests.sim.wire import Node

TICK_S = 0.5
"""Ten times the real one: what the core decides at a tick depends on its clock, not on their number."""

SNAPSHOT_LOOK_S = 1.0


@dataclass(slots=True)
class ShellWatch:
    """Whom the checks ask to be told: before and after the core has handled an event."""

    handled: Callable[[SimShell, events.Event, list[instructions.Instruction]], None]


class SimShell(Node):
    """One orchestrator process; each start is a new orchestrator with a fresh core."""

    core: Core
    effects: SimEffects
    requests: SimRequests
    desks: SimDesks
    limits: SimLimits
    sweep: SimSweep
    submit: SimSubmit
    due: SimDue
    queue: SimQueue
    feed: SimFeed

    def __init__(self, server: FakeServer, name: str, thresholds: Thresholds, watch: ShellWatch) -> None:
        super().__init__(server.loop, server.new_link(), name)
        self._server = server
        self._thresholds = thresholds
        self._watch = watch
        self.orchestrator_id = ""
        self.pulses_heard: dict[str, float] = {}
        """When each other orchestrator was last heard, in virtual time; for the checks."""
        self.back_at: dict[str, float] = {}
        """When one was heard again that had been silent for too long."""

    def start(self) -> None:
        super().start()
        self.orchestrator_id = f"{self.name}-{self.life}"
        self.started_at = self.loop.now
        self._inbox: deque[events.Event] = deque()
        self._is_draining = False
        self._known_kinds: set[str] = set()
        self.pulses_heard, self.back_at = {}, {}
        self._door = Door(self.clock)
        self.core = Core(self.orchestrator_id, self._thresholds)
        wires = Wires(self.post, lambda task_id, _: self.requests.task_ended(task_id))
        self.effects = SimEffects(self._server, self, self.orchestrator_id, self._thresholds, wires)
        self.requests = SimRequests(self._server, self, self.core, self.effects, self.post)
        self.desks = SimDesks(self._server, self, self.core, self.effects, self.post)
        self.limits = SimLimits(self._server, self, self.core, self.effects.appender, self.post)
        self.sweep = SimSweep(self._server, self, self.core, self.effects, self.post)
        self.submit = SimSubmit(self._server, self, self.core, self.effects, self.post)
        self.due = SimDue(self._server, self, self.effects, self.sweep.waiting, self.submit.quiet)
        self.queue = SimQueue(self._server, self, self.core.window, self._pulled)
        watch_s = self._thresholds.owner_silent_s
        me = self.orchestrator_id
        self.feed = SimFeed(self._server, self, me, watch_s, self._stored, self._caught_up)
        subscribe = self._server.subscribe
        subscribe(self.link, SUBJECTS.all_heartbeats, self._heartbeat)
        subscribe(self.link, SUBJECTS.all_pulses, self._pulse)
        self._send_pulse(stopping=False)
        subscribe(self.link, SUBJECTS.all_chunks, self._chunk)
        # Limits first: what the ledger tells counts against them.
        self.limits.begin(self.feed.begin)
        self._tick()

    def _caught_up(self) -> None:
        self.post(events.Recovered(self.feed.last_seq))
        self._pulse_forever()
        self._hold_forever()
        self._keep_snapshots()
        self.requests.serve()
        self.desks.serve()
        self.limits.serve()
        self.submit.serve()
        self.sweep.run_forever()
        self.due.run_forever()

    def post(self, event: events.Event) -> None:
        """Put an event into the inbox; the loop folds it in order."""
        self._inbox.append(event)
        if not self._is_draining:
            self._drain()

    def _drain(self) -> None:
        life = self.life
        self._is_draining = True
        while self._inbox:
            event = self._inbox.popleft()
            done = self.core.handle(event, self.clock.now())
            if self.loop.is_traced and (done or not isinstance(event, events.Ticked)):
                self.loop.trace(self.orchestrator_id, f"{event} -> {done}")
            self._watch.handled(self, event, done)
            for instruction in done:
                if self._crashes():
                    return
                self.effects.carry_out(instruction)
        self._is_draining = False
        if life != self.life or self._crashes():
            return
        for kind in sorted(self.core.memory.agents.declared - self._known_kinds):
            self._known_kinds.add(kind)
            self.queue.serve(kind)
        if self.link.is_up:
            self.queue.top_up()

    def _crashes(self) -> bool:
        if not self.loop.chance(self._server.weather.crash):
            return False
        self.kill()
        return True

    def _tick(self) -> None:
        self.after(TICK_S, self._tick)
        self.post(events.Ticked())

    def _pulse_forever(self) -> None:
        self._send_pulse(stopping=False)
        for kind in sorted(self._known_kinds):
            self.queue.serve(kind)
        self.after(self._thresholds.pulse_every_s, self._pulse_forever)

    def _send_pulse(self, *, stopping: bool) -> None:
        body = Pulse(self.orchestrator_id, len(self.core.memory.tasks), stopping)
        subject = SUBJECTS.pulse(self.orchestrator_id)
        if self.loop.chance(self._server.weather.deaf):
            return
        self.link.send(lambda: self._server.publish(subject, body))

    def _hold_forever(self) -> None:
        self.after(HOLD_EVERY_S, self._hold_forever)
        if self.link.is_up:
            self.effects.hold_all()

    def _keep_snapshots(self) -> None:
        self.after(SNAPSHOT_LOOK_S, self._keep_snapshots)
        if self.link.is_up and self._server.is_up and self._server.has_jetstream:
            self._server.archive.passed(self.feed.last_seq)

    def _pulled(self, consumer: str, delivery: Delivery) -> None:
        kind, priority, task_id = parse_task(delivery.message.subject)
        self.effects.queued[task_id] = Held(consumer, delivery)
        envelope = delivery.message.data
        if not isinstance(envelope, TaskEnvelope):
            self.post(events.TaskUnreadable(task_id, kind, priority, "no envelope"))
            return
        self.effects.envelopes.setdefault(task_id, envelope)
        now = self.clock.now()
        event = events.TaskPulled(
            task_id,
            kind,
            priority,
            facts_of(envelope.payload, 0),
            envelope.requires,
            envelope.max_attempts,
            envelope.timeout_s,
            self._door.monotonic(envelope.deadline_at),
            min(now, self._monotonic(delivery.message)),
            envelope.waits,
            envelope.limit_key,
            delivery.count,
            envelope.hedge is True,
        )
        self.post(event)

    def _monotonic(self, message: Message) -> float:
        at = self._door.monotonic(self._server.wall(message.stored_at))
        return at if at is not None else 0.0

    def _stored(self, message: Message) -> None:
        entry = message.data
        if isinstance(entry, Member):
            self.post(events.MemberStored(entry))
            return
        if isinstance(entry, Control):
            self.post(events.ControlStored(entry, message.seq))
            return
        deadline = None
        if isinstance(entry, (Assigned, Blocked)) and entry.envelope is not None:
            deadline = self._door.monotonic(entry.envelope.deadline_at)
        record = Record(message.seq, message.subject, entry, self._server.wall(message.stored_at))
        self.post(events.EntryStored(record, self._monotonic(message), deadline))

    def _heartbeat(self, _: str, beat: Heartbeat, __: Reply | None) -> None:
        self.post(beat_event(beat))

    def _pulse(self, _: str, pulse: Pulse, __: Reply | None) -> None:
        if pulse.orchestrator == self.orchestrator_id:
            return
        if pulse.orchestrator not in self.pulses_heard and not pulse.stopping:
            self._send_pulse(stopping=False)
        self._note(pulse)
        self.feed.not_alone()
        self.post(events.PulseHeard(pulse.orchestrator, pulse.stopping))

    def _note(self, pulse: Pulse) -> None:
        now = self.loop.now
        last = self.pulses_heard.get(pulse.orchestrator, self.started_at)
        if now - last > self._thresholds.owner_silent_s:
            self.back_at[pulse.orchestrator] = now
        self.pulses_heard[pulse.orchestrator] = -1e9 if pulse.stopping else now

    def _chunk(self, subject: str, _: object, __: Reply | None) -> None:
        agent_id, task_id, attempt = parse_chunk(subject)
        self.post(events.ProgressSeen(task_id, attempt, agent_id))

    def link_changed(self, is_up: bool) -> None:
        self.post(events.LinkChanged(is_up))
        self.limits.link_changed(is_up=is_up)
        self.feed.link_changed(is_up=is_up)
        if is_up:
            self.queue.reconnected()
            self.due.reconnected()
            self.queue.top_up()

    def stop(self) -> None:
        """Leave in good order: others may take over at once."""
        self._send_pulse(stopping=True)
        self.after(0.05, self.kill)
