"""Twin of the orchestrator's requests.py as far as it changes anything: cancel, join and settle.

It follows the real file step by step, without asyncio; a change there wants the same change here.
"""

from __future__ import annotations

from collections.abc import Callable

from outrider.broker.messages import Heartbeat, Join, Joined, Ping, Settle, Settled, TaskEnvelope, TaskRequest
from outrider.broker.states import AgentState
from outrider.broker.subjects import parse_agent
from outrider.ledger.entries import Closed
from outrider.ledger.settling import outcome_epochs, settle
from outrider.orchestrator import events
from outrider.orchestrator.core import Core
from tests.sim.fake_jetstream import WRONG_SEQUENCE, Message, PubAnswer
from tests.sim.fake_server import SUBJECTS, FakeServer, Reply, Unheard
from tests.sim.sim_effects import SimEffects, fold_messages
from tests.sim.wire import Node

CANCEL_WITHIN_S = 5.0
ENDED = "ended"
"""The answer to a cancel whose task is terminal now, whoever ended it."""


class Refusal(str):
    """An error answer, as its text."""

    __slots__ = ()


class SimRequests:
    """The endpoints of one orchestrator."""

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
        self._waiters: dict[str, list[Callable[[], None]]] = {}

    def serve(self) -> None:
        for subject, handler in (
            (SUBJECTS.cancel, self.cancel),
            (SUBJECTS.any_join, self.join),
            (SUBJECTS.any_settle, self.settle),
        ):
            self._server.subscribe(self._node.link, subject, handler, "orchestrator")

    def _answer(self, reply: Reply | None, value: object) -> None:
        if reply is not None:
            self._node.link.send(lambda: reply(value))

    def task_ended(self, task_id: str) -> None:
        for wake in self._waiters.pop(task_id, ()):
            wake()

    def cancel(self, _: str, request: TaskRequest, reply: Reply | None) -> None:
        """End a task wherever it is; one that is terminal already stays as it is."""
        task_id = request.task_id
        if task_id not in self._core.memory.tasks:
            self._cancel_waiting(request, reply)
            return
        is_open = True

        def finish(answer: str) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                self._answer(reply, answer)

        self._waiters.setdefault(task_id, []).append(lambda: finish(ENDED))
        self._post(events.CancelRequested(task_id, request.reason))
        self._node.after(CANCEL_WITHIN_S, lambda: finish(Refusal("not cancelled yet")))

    def _cancel_waiting(self, request: TaskRequest, reply: Reply | None) -> None:
        """A task that nobody pulled yet: its terminal entry first, then its message."""
        task_id = request.task_id

        def found(messages: list[Message] | None) -> None:
            if messages is None:
                self._answer(reply, Refusal("cannot be read"))
            elif messages:
                self._close_waiting(messages[-1], request, reply)
            else:
                self._show(task_id, reply)

        subject_filter = SUBJECTS.task_anywhere(task_id)
        self._effects.reader.find(lambda tasks, ledger: tasks.last_of(subject_filter), found)

    def _end_is_stored(self, task_id: str, reply: Reply | None) -> None:
        self._post(events.MayHaveEnded(task_id))
        self._answer(reply, ENDED)

    def _show(self, task_id: str, reply: Reply | None) -> None:
        """Answer with the task's state, as `get` would."""

        def read(messages: list[Message] | None) -> None:
            story = fold_messages(task_id, messages or [])
            self._answer(reply, ENDED if story.is_terminal else story.state.value)

        self._effects.reader.story(task_id, read)

    def _close_waiting(self, waiting: Message, request: TaskRequest, reply: Reply | None) -> None:
        task_id, envelope = request.task_id, waiting.data
        if not isinstance(envelope, TaskEnvelope):
            self._answer(reply, Refusal("not an envelope"))
            return
        entry = Closed(task_id, 0, "cancelled", request.reason, envelope=envelope, at=self._node.clock.wall())

        def receipt(answer: PubAnswer) -> None:
            if answer.seq:
                done = self._node.link.reply_to(lambda _: self._end_is_stored(task_id, reply))
                self._node.link.send(lambda: self._server.delete_task(waiting.seq, done))
            elif answer.err_code == WRONG_SEQUENCE:
                self._answer(reply, Refusal("taken up at this moment"))
            else:
                self._answer(reply, Refusal("outcome unknown"))

        subject = SUBJECTS.ledger_orchestrator(task_id, self._core.memory.me)
        self._effects.appender.send(subject, entry, receipt, 0, SUBJECTS.story(task_id))

    def join(self, _: str, join: Join, reply: Reply | None) -> None:
        """Let an agent in, unless another live instance has its name."""
        known = self._core.memory.agents.get(join.agent_id)
        if known is None or known.instance in ("", join.instance) or known.state is AgentState.OFFLINE:
            self._let_in(join, reply)
            return
        is_open, instance = True, known.instance

        def finish(answer: Heartbeat | Unheard | None) -> None:
            nonlocal is_open
            if not is_open:
                return
            is_open = False
            if isinstance(answer, Heartbeat) and answer.instance == instance:
                self._answer(reply, Refusal("the name belongs to a live agent"))
            else:
                self._let_in(join, reply)

        ping = self._node.link.reply_to(finish)
        subject = SUBJECTS.agent(join.agent_id, "ping")
        self._node.link.send(lambda: self._server.publish(subject, Ping(instance), ping))
        self._node.after(self._core.memory.thresholds.join_silence_s, lambda: finish(None))

    def _let_in(self, join: Join, reply: Reply | None) -> None:
        self._post(
            events.AgentJoined(
                join.agent_id, join.instance, join.kinds, join.slots, join.labels, join.spooled, join.host
            )
        )
        self._answer(reply, Joined(self._core.memory.me, self._core.memory.thresholds.heartbeat_s))

    def settle(self, subject: str, request: Settle, reply: Reply | None) -> None:
        """Tell an agent what became of an epoch, from the ledger and nothing else."""
        agent_id = parse_agent(subject)

        def read(messages: list[Message] | None) -> None:
            if messages is None:
                self._answer(reply, Refusal("cannot be read"))
                return
            story = fold_messages(request.task_id, messages)
            verdict: Settled = settle(story, agent_id, request.epoch, outcome_epochs(list(story.outcomes)))
            self._answer(reply, verdict)

        self._effects.reader.story(request.task_id, read)
