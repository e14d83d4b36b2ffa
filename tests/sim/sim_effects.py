"""Twin of the orchestrator's effects.py: carries out the core's instructions on the fake server.

It follows the real file step by step, without asyncio; a change there wants the same change here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

from outrider.broker.messages import (
    AssignAnswer,
    Assignment,
    CancelAttempt,
    Heartbeat,
    Ping,
    Renew,
    TaskEnvelope,
)
from outrider.broker.routing import Choice, RouteAnswer, RouteReason
from outrider.broker.subjects import parse_ledger
from outrider.ledger.entries import Assigned, Blocked, Closed, Entry
from outrider.ledger.fold import Story
from outrider.orchestrator import events, instructions
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.inbox import beat_event
from tests.sim.fake_jetstream import WRONG_SEQUENCE, Delivery, Message, PubAnswer
from tests.sim.fake_server import SUBJECTS, FakeServer, Unheard
from tests.sim.loop import EPOCH
from tests.sim.wire import Node

APPEND_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
UNKNOWN = PubAnswer(err_code=-1)
"""No receipt in time: stored or not."""
UNAVAILABLE = PubAnswer(err_code=503)


def fold_messages(task_id: str, messages: list[Message]) -> Story:
    """fold_stored of ledger/reader.py, for bodies that are entries already; `at` is wall time there."""
    story = Story(task_id)
    for message in messages:
        story.apply(message.seq, parse_ledger(message.subject), message.data, EPOCH + message.stored_at)
    return story


class Held(NamedTuple):
    """A message of the queue that is held and not acked yet."""

    consumer: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Wires:
    """What ties the effects to their shell."""

    post: Callable[[events.Event], None]
    announce: Callable[[str, str], None]


class SimAppender:
    """Appender of pipeline.py: each publish ends in exactly one answer, at the latest after its timeout."""

    def __init__(self, server: FakeServer, node: Node) -> None:
        self._server = server
        self._node = node

    def send(
        self,
        subject: str,
        data: Any,
        on_answer: Callable[[PubAnswer], None],
        expect: int | None = None,
        over: str = "",
    ) -> None:
        is_open = True

        def finish(answer: PubAnswer | Unheard) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                on_answer(UNAVAILABLE if isinstance(answer, Unheard) else answer)

        reply = self._node.link.reply_to(finish)
        self._node.link.send(lambda: self._server.append(subject, data, reply, expect, over))
        self._node.after(APPEND_TIMEOUT_S, lambda: finish(UNKNOWN))


class SimReader:
    """LedgerReader and StreamReader: direct gets, with None for what could not be read in time."""

    def __init__(self, server: FakeServer, node: Node) -> None:
        self._server = server
        self._node = node

    def story(self, task_id: str, on_read: Callable[[list[Message] | None], None]) -> None:
        subject_filter = SUBJECTS.story(task_id)
        self.find(lambda tasks, ledger: ledger.all_of(subject_filter), on_read)

    def find(self, find: Callable[[Any, Any], Any], on_read: Callable[[Any], None]) -> None:
        is_open = True

        def finish(found: Any) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                on_read(None if isinstance(found, Unheard) else found)

        reply = self._node.link.reply_to(finish)
        self._node.link.send(lambda: self._server.read(reply, find))
        self._node.after(READ_TIMEOUT_S, lambda: finish(None))


class SimEffects:
    """Carries out instructions in order."""

    def __init__(self, server: FakeServer, node: Node, me: str, thresholds: Thresholds, wires: Wires) -> None:
        self._server = server
        self._node = node
        self._me = me
        self._route_budget_s = thresholds.route_budget_s
        self._post = wires.post
        self._told = wires.announce
        self.reader = SimReader(server, node)
        self.appender = SimAppender(server, node)
        self.envelopes: dict[str, TaskEnvelope] = {}
        self.queued: dict[str, Held] = {}
        self._do: dict[type, Callable[[Any], None]] = {
            instructions.Write: self.write,
            instructions.WriteMember: self._write_member,
            instructions.ReadStory: self._read_story,
            instructions.ReadParents: self._read_parents,
            instructions.Route: self._route,
            instructions.Assign: self._assign,
            instructions.Release: self._release,
            instructions.AckTask: self._ack,
            instructions.GiveBack: self._give_back,
            instructions.StopAttempt: self._stop_attempt,
            instructions.Renew: self._renew,
            instructions.PingAgent: self._ping,
            instructions.Announce: self._announce,
        }

    def carry_out(self, instruction: instructions.Instruction) -> None:
        self._do[type(instruction)](instruction)

    def write(self, i: instructions.Write) -> None:
        body = self._complete(i.entry, i.expect)
        task_id = i.task_id

        def receipt(answer: PubAnswer) -> None:
            if answer.seq:
                self._post(events.Written(task_id, i.number, answer.seq))
            else:
                self._post(events.WriteFailed(task_id, i.number, answer is not UNKNOWN, _why(answer)))

        subject = SUBJECTS.ledger_orchestrator(task_id, self._me)
        self.appender.send(subject, body, receipt, i.expect, SUBJECTS.story(task_id))

    def _complete(self, entry: Entry, expect: int) -> Entry:
        at = self._node.clock.wall()
        envelope = self.envelopes.get(entry.task_id) if expect == 0 else None
        if envelope is not None and isinstance(entry, (Assigned, Blocked, Closed)):
            return replace(entry, at=at, envelope=envelope)
        return replace(entry, at=at)

    def _write_member(self, i: instructions.WriteMember) -> None:
        member = replace(i.member, at=self._node.clock.wall())
        self.appender.send(SUBJECTS.member(member.agent_id), member, lambda answer: None)

    def _read_story(self, i: instructions.ReadStory, delay_s: float = 0.05) -> None:
        def read(found: list[Message] | None) -> None:
            if found is None:
                again_s = min(2.0, delay_s * 2)
                self._node.after(delay_s, lambda: self._read_story(i, again_s))
            else:
                self._post(events.StoryRead(i.task_id, fold_messages(i.task_id, found)))

        self.reader.story(i.task_id, read)

    def _read_parents(self, i: instructions.ReadParents, delay_s: float = 0.05) -> None:
        """states_for_certain of lookup.py: TASKS before LEDGER, until both can be read."""
        waiting: set[str] = set()

        def again() -> None:
            self._node.after(delay_s, lambda: self._read_parents(i, min(2.0, delay_s * 2)))

        def read_tasks(found: set[str] | None) -> None:
            if found is None:
                again()
                return
            waiting.update(found)
            self.reader.find(lambda tasks, ledger: _stories_of(ledger, i.task_ids), read_ledger)

        def read_ledger(found: dict[str, list[Message]] | None) -> None:
            if found is None:
                again()
                return
            stories = {task_id: fold_messages(task_id, messages) for task_id, messages in found.items()}
            written = {task_id: story.state.value for task_id, story in stories.items() if story.epoch}
            queued = dict.fromkeys(waiting, "queued")
            states = tuple((t, written.get(t) or queued.get(t, "")) for t in i.task_ids)
            self._post(events.ParentsRead(states))

        self.reader.find(lambda tasks, ledger: _waiting_of(tasks, i.task_ids), read_tasks)

    def _route(self, i: instructions.Route) -> None:
        is_open = True

        def finish(event: events.Event) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                self._post(event)

        reply = self._node.link.reply_to(lambda answer: finish(_routed(i.round, answer)))
        self._node.link.send(lambda: self._server.publish(SUBJECTS.route, i.request, reply))
        too_late = events.RouteFailed(i.round, RouteReason.FALLBACK_TIMEOUT)
        self._node.after(self._route_budget_s, lambda: finish(too_late))

    def _assign(self, i: instructions.Assign) -> None:
        envelope = self.envelopes.get(i.task_id)
        if envelope is not None:
            self._tell(i, envelope)
            return

        def read(message: Message | None) -> None:
            entry = message.data if message is not None else None
            if isinstance(entry, (Assigned, Blocked)) and entry.envelope is not None:
                self._tell(i, entry.envelope)

        self.reader.find(lambda tasks, ledger: ledger.at(i.envelope_seq), read)

    def _tell(self, i: instructions.Assign, envelope: TaskEnvelope) -> None:
        assignment = Assignment(
            i.task_id,
            envelope.kind,
            i.attempt,
            i.epoch,
            i.expect,
            envelope.payload,
            envelope.priority,
            envelope.timeout_s,
            envelope.deadline_at,
            self._me,
            envelope.payload_ref,
        )
        reply = self._node.link.reply_to(lambda answer: self._post(_assign_answer(i, answer)))
        subject = SUBJECTS.agent(i.agent_id, "assign")
        self._node.link.send(lambda: self._server.publish(subject, assignment, reply))

    def _release(self, i: instructions.Release) -> None:
        if i.task_id not in self.queued:
            self.envelopes.pop(i.task_id, None)

    def _ack(self, i: instructions.AckTask) -> None:
        held = self.queued.pop(i.task_id, None)
        if held is not None:
            self._node.link.send(lambda: self._server.acknowledge(held.consumer, held.delivery, "+ACK"))

    def _give_back(self, i: instructions.GiveBack) -> None:
        held = self.queued.pop(i.task_id, None)
        if held is not None:
            self._node.link.send(
                lambda: self._server.acknowledge(held.consumer, held.delivery, "-NAK", i.delay_s)
            )

    def hold_all(self) -> None:
        for held in self.queued.values():
            self._hold(held)

    def _hold(self, held: Held) -> None:
        self._node.link.send(lambda: self._server.acknowledge(held.consumer, held.delivery, "+WPI"))

    def _stop_attempt(self, i: instructions.StopAttempt) -> None:
        body = CancelAttempt(i.task_id, i.epoch, i.reason)
        subject = SUBJECTS.agent(i.agent_id, "cancel")
        self._node.link.send(lambda: self._server.publish(subject, body))

    def _renew(self, i: instructions.Renew) -> None:
        """It may get lost, come late or come twice, where the world says so."""
        body, subject = Renew(i.task_id, i.attempt, i.epoch, i.expect), SUBJECTS.agent(i.agent_id, "renew")
        trouble, loop = self._server.renew_trouble, self._node.loop
        if trouble and loop.chance(trouble):
            return
        times = 2 if trouble and loop.chance(trouble) else 1
        for _ in range(times):
            delay_s = loop.random.uniform(0.0, 5.0) if trouble and loop.chance(trouble) else 0.0
            send = partial(self._server.publish, subject, body)
            self._node.after(delay_s, partial(self._node.link.send, send))

    def _ping(self, i: instructions.PingAgent) -> None:
        def answered(answer: Heartbeat | Unheard) -> None:
            if isinstance(answer, Unheard):
                self._post(events.AgentUnreachable(i.agent_id))
            else:
                self._post(beat_event(answer))

        reply = self._node.link.reply_to(answered)
        subject = SUBJECTS.agent(i.agent_id, "ping")
        self._node.link.send(lambda: self._server.publish(subject, Ping(i.instance), reply))

    def _announce(self, i: instructions.Announce) -> None:
        self._told(i.task_id, i.state)


def _waiting_of(tasks: Any, task_ids: tuple[str, ...]) -> set[str]:
    return {task_id for task_id in task_ids if tasks.last_of(SUBJECTS.task_anywhere(task_id))}


def _stories_of(ledger: Any, task_ids: tuple[str, ...]) -> dict[str, list[Message]]:
    return {task_id: ledger.all_of(SUBJECTS.story(task_id)) for task_id in task_ids}


def _why(answer: PubAnswer) -> str:
    return "another entry came first" if answer.err_code == WRONG_SEQUENCE else f"refused: {answer.err_code}"


def _routed(number: int, answer: RouteAnswer | Unheard) -> events.Event:
    if isinstance(answer, Unheard):
        return events.RouteFailed(number, RouteReason.FALLBACK_NO_ROUTER)
    if not all(_is_decodable(choice) for choice in answer.choices):
        return events.RouteFailed(number, RouteReason.FALLBACK_BAD_ANSWER)
    return events.Routed(number, answer.choices, answer.model, answer.held)


def _is_decodable(choice: Choice) -> bool:
    """What the codec lets through; the rest of the nonsense is the core's to see."""
    return isfinite(choice.p50_s) and isfinite(choice.p90_s) and isfinite(choice.finish_s)


def _assign_answer(i: instructions.Assign, answer: AssignAnswer | Unheard) -> events.Event:
    if isinstance(answer, Unheard):
        return events.AssignUnheard(i.task_id, i.epoch)
    return events.AssignAnswered(i.task_id, i.epoch, answer.accepted, answer.reason)
