"""Twins of the orchestrator's letter_desk.py and pausing.py, for one dead letter or one pause a request.

They follow the real files step by step, without asyncio; a change there wants the same change here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from outrider.broker.letters import LetterRequest
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pausing import PauseRequest
from outrider.broker.states import TaskState
from outrider.ledger import control as words
from outrider.ledger.control import Control
from outrider.ledger.fold import Story
from outrider.orchestrator import events
from outrider.orchestrator.core import Core
from tests.sim.fake_jetstream import WRONG_SEQUENCE, Message, PubAnswer
from tests.sim.fake_server import SUBJECTS, FakeServer, Reply
from tests.sim.sim_effects import SimEffects, fold_messages
from tests.sim.wire import Node

Say = Callable[[str], None]
OnStory = Callable[[Story, Say], None]


class SimDesks:
    """What operators ask of one orchestrator. An answer that begins with `no` is a refusal."""

    def __init__(
        self,
        server: FakeServer,
        node: Node,
        core: Core,
        effects: SimEffects,
        post: Callable[[events.Event], None],
    ) -> None:
        self._server = server
        self._node = node
        self._core = core
        self._effects = effects
        self._post = post

    def serve(self) -> None:
        for subject, handler in (
            (SUBJECTS.requeue, self._requeue_request),
            (SUBJECTS.discard, self._discard_request),
            (SUBJECTS.pause, self._pause),
            (SUBJECTS.resume, self._resume),
        ):
            self._server.subscribe(self._node.link, subject, handler, "orchestrator")

    def _sayer(self, reply: Reply | None) -> Say:
        def say(answer: str) -> None:
            if reply is not None:
                self._node.link.send(lambda: reply(answer))

        return say

    # Dead letters

    def _requeue_request(self, _: str, request: LetterRequest, reply: Reply | None) -> None:
        self._with_dead(request.task_id, self._sayer(reply), self._requeue)

    def _discard_request(self, _: str, request: LetterRequest, reply: Reply | None) -> None:
        self._with_dead(request.task_id, self._sayer(reply), self._discard)

    def _with_dead(self, task_id: str, say: Say, then: OnStory) -> None:
        def read(messages: list[Message] | None) -> None:
            if messages is None:
                say("no, it cannot be read")
                return
            story = fold_messages(task_id, messages)
            if story.state is TaskState.DEAD:
                then(story, say)
            else:
                say("no, it is not dead")

        self._effects.reader.story(task_id, read)

    def _requeue(self, story: Story, say: Say) -> None:
        envelope = story.envelope
        if envelope is None:
            say("no, it could not be read")
            return
        discarded = SUBJECTS.control(words.letter_control_id("discarded", story.epoch))

        def found(messages: list[Message] | None) -> None:
            if messages is None:
                say("no, it cannot be read")
            elif messages:
                say("no, it was discarded")
            else:
                self._place(self._again(envelope, story), story, say)

        self._effects.reader.find(lambda tasks, ledger: ledger.last_of(discarded), found)

    def _again(self, envelope: TaskEnvelope, story: Story) -> TaskEnvelope:
        now = self._node.clock.wall()
        span_s = None
        if envelope.deadline_at is not None:
            span_s = max(0.0, envelope.deadline_at - envelope.submitted_at)
        return replace(
            envelope,
            task_id=words.requeued_id(story.task_id, story.epoch),
            deadline_at=None if span_s is None else now + span_s,
            submitted_at=now,
            requeued_from=story.task_id,
        )

    def _place(self, new: TaskEnvelope, story: Story, say: Say) -> None:
        """The new task first, then the fact that there is one."""
        fact = replace(self._fact("requeued", story), requeued_as=new.task_id)

        def receipt(answer: PubAnswer) -> None:
            if answer.seq or answer.err_code == WRONG_SEQUENCE:
                self.record(fact, say, new.task_id)
            else:
                say("no, nobody knows")

        def read(messages: list[Message] | None) -> None:
            if messages is None:
                say("no, it cannot be read")
            elif messages:
                self.record(fact, say, new.task_id)
            else:
                subject = SUBJECTS.task(new.kind, new.priority, new.task_id)
                self._effects.appender.send(subject, new, receipt, 0, SUBJECTS.task_anywhere(new.task_id))

        self._effects.reader.story(new.task_id, read)

    def _discard(self, story: Story, say: Say) -> None:
        self.record(self._fact("discarded", story), say, "discarded")

    def _fact(self, type_: str, story: Story) -> Control:
        return Control(type_, story.view().kind, story.task_id, story.epoch)

    def record(self, fact: Control, say: Say, answer: str) -> None:
        """Write a fact about a letter, once whoever says it."""
        subject = SUBJECTS.control(words.letter_control_id(fact.type, fact.dead_seq))

        def receipt(stored: PubAnswer) -> None:
            if stored.seq or stored.err_code == WRONG_SEQUENCE:
                self._post(events.ControlStored(fact, stored.seq))
                say(answer)
            else:
                say("no, nobody knows")

        self._effects.appender.send(subject, fact, receipt, 0, subject)

    # Pauses

    def _pause(self, _: str, request: PauseRequest, reply: Reply | None) -> None:
        self._say_pause("paused", request, self._sayer(reply))

    def _resume(self, _: str, request: PauseRequest, reply: Reply | None) -> None:
        self._say_pause("resumed", request, self._sayer(reply))

    def _say_pause(self, type_: str, request: PauseRequest, say: Say) -> None:
        control = Control(type_, request.kind)

        def receipt(stored: PubAnswer) -> None:
            if stored.seq:
                self._post(events.ControlStored(control, stored.seq))
            say(type_ if stored.seq else "no, nobody knows")

        subject = SUBJECTS.control(words.pause_control_id(request.kind))
        self._effects.appender.send(subject, control, receipt)
