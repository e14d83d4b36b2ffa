"""Agents in virtual time: they join, beat, run, spool and record as the real SDK does, and misbehave.

Outcomes are recorded as agents/recorder.py does: compare-and-set, again after silence, settled when refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from outrider.broker.messages import (
    AssignAnswer,
    Assignment,
    AttemptError,
    CancelAttempt,
    Chunk,
    Heartbeat,
    Join,
    Joined,
    Ping,
    Renew,
    SpooledEpoch,
)
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import AgentState, ErrorClass
from tests.sim.agent_store import AgentStore
from tests.sim.agent_words import a_lie, error_of, limits_of, usage_of
from tests.sim.fake_recorder import FakeRecorder
from tests.sim.fake_server import SUBJECTS, FakeServer, Reply
from tests.sim.handler_log import HandlerLog, Run
from tests.sim.sim_effects import SimAppender
from tests.sim.temper import POISON, Finished, Profile, Running

JOIN_WITHIN_S = 10.0
PROGRESS_EVERY_S = 1.5


class FakeAgent(FakeRecorder):
    """One agent's machine: the process may die, its disk usually stays."""

    def __init__(self, server: FakeServer, profile: Profile, log: HandlerLog) -> None:
        super().__init__(server, profile)
        self.log = log
        self.running: dict[int, Running] = {}
        self.state = AgentState.OFFLINE
        self.instance = ""

    def start(self) -> None:
        super().start()
        self.instance = f"{self.agent_id}-{self.life}"
        self.running = {}
        self._known: set[int] = set()
        self._appender = SimAppender(self._server, self)
        self._store = AgentStore(self._server, self, self._appender, self.log)
        self.state = AgentState.ONLINE
        self._has_joined = False
        verbs: list[tuple[str, Any]] = [("assign", self._assign), ("cancel", self._cancel)]
        if self.profile.temper.hears_renew:
            verbs.append(("renew", self._renew))
        for verb, handler in verbs:
            self._server.subscribe(self.link, SUBJECTS.agent(self.agent_id, verb), handler)
        for finished in list(self.spool.values()):
            finished.is_stored = False
            self._record(finished)
        self._join(0.1)

    def _join(self, pause_s: float) -> None:
        is_open = True

        def finish(answer: object) -> None:
            nonlocal is_open
            if not is_open:
                return
            is_open = False
            if isinstance(answer, Joined):
                self._joined(answer)
            else:
                self.after(pause_s, lambda: self._join(min(2 * pause_s, 5.0)))

        spooled = tuple(SpooledEpoch(t, f.entry.epoch) for (t, _), f in self.spool.items())
        slots, kinds = self.profile.temper.slots, self.profile.kinds
        join = Join(self.agent_id, self.instance, kinds, slots, self.profile.labels, spooled, self.name)
        reply = self.link.reply_to(finish)
        subject = SUBJECTS.agent(self.agent_id, "join")
        self.link.send(lambda: self._server.publish(subject, join, reply))
        self.after(JOIN_WITHIN_S, lambda: finish(None))

    def _joined(self, answer: Joined) -> None:
        if not self._has_joined:
            self._has_joined = True
            subject = SUBJECTS.agent(self.agent_id, "ping")
            self._server.subscribe(self.link, subject, self._ping)
            self._beat_forever(answer.heartbeat_s)
        else:
            self._beat()

    def link_changed(self, is_up: bool) -> None:
        if is_up:
            self._join(0.1)

    # Signs of life

    def _status(self) -> Heartbeat:
        return Heartbeat(
            self.agent_id,
            self.instance,
            self.state,
            self.profile.temper.slots,
            tuple(running.epoch for running in self.running.values()),
            tuple(f.entry.epoch for f in self.spool.values()),
            self.profile.kinds,
            self.profile.labels,
        )

    def _beat_forever(self, every_s: float) -> None:
        self._beat()
        self.after(every_s, lambda: self._beat_forever(every_s))

    def _beat(self) -> None:
        if self.link.is_up and self._has_joined:
            beat = self._status()
            subject = SUBJECTS.agent(self.agent_id, "heartbeat")
            self.link.send(lambda: self._server.publish(subject, beat))

    def _ping(self, _: str, ping: Ping, reply: Reply | None) -> None:
        if reply is not None and ping.instance in ("", self.instance):
            beat = self._status()
            self.link.send(lambda: reply(beat))

    # Attempts

    def _assign(self, _: str, assignment: Assignment, reply: Reply | None) -> None:
        self.log.hear(self.agent_id, assignment, self.loop.now)
        refusal = self._refusal(assignment)
        answer = AssignAnswer(not refusal, refusal, assignment.epoch)
        if reply is not None:
            self.link.send(lambda: reply(answer))

    def _refusal(self, assignment: Assignment) -> str:
        """Start the attempt, once however often it is sent, or say why not."""
        epoch, temper = assignment.epoch, self.profile.temper
        if epoch in self._known:
            return ""
        if self.state is AgentState.DRAINING:
            return "draining"
        if assignment.kind not in self.profile.kinds:
            return "unknown_kind"
        if len(self.running) >= temper.slots or self.loop.chance(temper.refuse):
            return "full"
        self._known.add(epoch)
        self._run(assignment)
        return ""

    def _run(self, given: Assignment) -> None:
        loop, temper, epoch = self.loop, self.profile.temper, given.epoch
        running = Running(given, loop.now, loop.chance(temper.hang), epoch, given.expect)
        self.running[epoch] = running
        self.log.run(Run(given.task_id, given.attempt, self.agent_id, epoch, loop.now))
        if loop.chance(temper.emit):
            self._emit_forever(running)
        if given.payload == POISON:
            self.after(loop.random.uniform(0.05, 0.5), lambda: self._die_of(running))
            return
        if running.hangs:
            return
        if given.payload_ref is None:
            self._work(given)
        else:
            self._store.prepare(given, lambda: self.running.get(epoch) is running, self._work, self._end)

    def _work(self, given: Assignment) -> None:
        """The handler runs to its end, unless its time is up before."""
        epoch = given.epoch
        self.after(self._lasts_s(given.task_id), lambda: self._finish(epoch))
        limits = limits_of(given, self.clock.wall())
        if limits:
            self.after(min(limits), lambda: self._end(epoch, error_of(ErrorClass.TIMEOUT, True)))

    def _lasts_s(self, task_id: str) -> float:
        """How long the handler takes; one that runs beside another may end at the same moment."""
        loop, temper = self.loop, self.profile.temper
        lasts_s = loop.random.uniform(temper.shortest_s, temper.longest_s)
        left_s = self.log.ends_at.get(task_id, 0.0) - loop.now
        if left_s > 0.0 and loop.chance(0.3):
            lasts_s = left_s
        self.log.ends_at[task_id] = loop.now + lasts_s
        return lasts_s

    def _die_of(self, running: Running) -> None:
        """The task takes its process down; somebody starts it again."""
        if self.running.get(running.assignment.epoch) is running:
            life = self.life + 1
            self.kill()
            again_s = self.loop.random.uniform(0.1, 6.0)
            self.loop.after(again_s, lambda: self.start() if self.life == life else None)

    def _emit_forever(self, running: Running) -> None:
        given = running.assignment
        if self.running.get(given.epoch) is running:
            subject = SUBJECTS.chunk(self.agent_id, given.task_id, given.attempt)
            self.link.send(lambda: self._server.publish(subject, Chunk(0)))
            if not running.hangs:
                self.after(PROGRESS_EVERY_S, lambda: self._emit_forever(running))

    def _finish(self, epoch: int) -> None:
        """The handler returns or raises."""
        loop, temper = self.loop, self.profile.temper
        if loop.chance(temper.throttle):
            self._end(epoch, error_of(ErrorClass.RATE_LIMITED, True, loop.random.choice((0.5, 1.5, 3.0))))
        elif loop.chance(temper.fail_for_good):
            self._end(epoch, error_of(ErrorClass.INVALID_INPUT, False))
        elif loop.chance(temper.fail):
            retry_after_s = loop.random.choice((None, None, 0.5, 2.0))
            self._end(epoch, error_of(ErrorClass.HANDLER, True, retry_after_s))
        else:
            self._end(epoch, None)

    def _end(self, epoch: int, error: AttemptError | None) -> None:
        running = self.running.pop(epoch, None)
        if running is None:
            return
        given, now = running.assignment, self.loop.now
        service_s, at = now - running.started_at, self.clock.wall()
        who = (given.task_id, given.attempt, self.agent_id, running.epoch)
        entry: Succeeded | Failed
        if error is None:
            result = f"{given.task_id}/{epoch}/{self.instance}"
            entry = Succeeded(*who, result, service_s, usage_of(given), at=at)
            self.log.say(given.task_id, epoch, self.agent_id, result)
        else:
            entry = Failed(*who, error, service_s, at=at)
            self.log.say(given.task_id, epoch, self.agent_id, error.message)
        finished = Finished(entry, running.expect)
        if isinstance(entry, Succeeded) and given.payload_ref is not None and self.loop.chance(0.6):
            finished = self._store.enlarge(entry, running.expect)
            self.log.say(given.task_id, epoch, self.agent_id, finished.ref)
        self.spool[given.task_id, given.attempt] = finished
        self._record(finished)
        if self.loop.chance(self.profile.temper.resend):
            self.after(self.loop.random.uniform(0.0, 10.0), lambda: self._send_again(finished))
        self._leave_if_drained()

    def _send_again(self, finished: Finished) -> None:
        """Whatever became of it; but never before its large result is stored."""
        if finished.ref is None or finished.is_stored:
            self._append(finished, lambda _: None)

    def _cancel(self, _: str, request: CancelAttempt, __: Reply | None) -> None:
        for epoch, running in list(self.running.items()):
            if (running.epoch, running.assignment.task_id) == (request.epoch, request.task_id):
                del self.running[epoch]
                self._leave_if_drained()

    def _renew(self, _: str, request: Renew, __: Reply | None) -> None:
        """As the SDK: forward only, also for an outcome that the ledger does not have yet."""
        for running in self.running.values():
            given = running.assignment
            is_meant = (given.task_id, given.attempt) == (request.task_id, request.attempt)
            if is_meant and request.epoch > running.epoch:
                running.epoch, running.expect = request.epoch, request.expect
        finished = self.spool.get((request.task_id, request.attempt))
        if finished is not None and request.epoch > finished.entry.epoch:
            finished.entry = replace(finished.entry, epoch=request.epoch)
            finished.expect = request.expect

    # Leaving, and worse

    def drain(self) -> None:
        """SIGTERM: finish what runs, take nothing new, say good-bye."""
        if not self.is_alive or self.is_frozen or self.state is not AgentState.ONLINE:
            return
        self.loop.trace(self.name, "drains")
        self.state = AgentState.DRAINING
        self._beat()
        self._leave_if_drained()

    def stop_now(self) -> None:
        """A second SIGTERM: what hears it is recorded as interrupted, and after two seconds good-bye."""
        if not self.is_alive or self.is_frozen or self.state is AgentState.OFFLINE:
            return
        self.loop.trace(self.name, "stops")
        self.state = AgentState.DRAINING
        for epoch in list(self.running):
            if self.loop.chance(0.5):
                self._end(epoch, error_of(ErrorClass.INTERRUPTED, True))
        self.after(2.0, self._say_goodbye)

    def _say_goodbye(self) -> None:
        if self.state is not AgentState.OFFLINE:
            self.state = AgentState.OFFLINE
            self._beat()
            self.after(0.05, self.kill)

    def _leave_if_drained(self) -> None:
        if self.state is AgentState.DRAINING and not self.running and not self.spool:
            self.state = AgentState.OFFLINE
            self._beat()
            self.after(0.05, self.kill)

    def lose_disk(self) -> None:
        self.spool.clear()

    def lie(self, task_id: str, attempt: int, epoch: int) -> None:
        """Write an outcome for anything, expecting nothing; only its own name cannot be forged."""
        if not (self.is_alive and not self.is_frozen and self.profile.temper.is_hostile):
            return
        subject = SUBJECTS.ledger_agent(task_id, self.agent_id)
        entry = a_lie(self.log, (task_id, attempt, self.agent_id, epoch), is_good=not self.loop.chance(0.5))
        self.link.send(lambda: self._server.append(subject, entry, lambda _: None))
