"""An operator in virtual time: pauses and resumes, requeues and discards what is dead, sometimes twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outrider.broker.letters import LetterRequest
from outrider.broker.pausing import PauseRequest
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.wire import Node

ANSWER_WITHIN_S = 6.0
MOST_REQUEUES = 4
Answered = Callable[[str, str], None]


class FakeOperator(Node):
    """One person. In the end everything is resumed, and they do not go before they know so."""

    def __init__(
        self,
        server: FakeServer,
        kinds: tuple[str, ...],
        dead: Callable[[], list[str]],
        on_requeued: Answered,
    ) -> None:
        super().__init__(server.loop, server.new_link(), "operator")
        self._server = server
        self._kinds = kinds
        self._dead = dead
        self._on_requeued = on_requeued
        self._requeues = 0
        self.is_calm = False
        self.is_content = True
        """Nothing that they paused waits to be resumed."""

    def start(self) -> None:
        super().start()
        self._plan()

    def _plan(self) -> None:
        self.after(self.loop.random.expovariate(0.4), self._act)

    def _act(self) -> None:
        if self.is_calm:
            return
        act = self.loop.random.choice(
            (self._pause, self._resume, self._requeue, self._requeue, self._discard)
        )
        act()
        self._plan()

    def _ask(self, subject: str, request: Any, on_answer: Callable[[str | None], None]) -> None:
        is_open = True

        def finish(answer: Any) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                on_answer(answer if isinstance(answer, str) and not answer.startswith("no") else None)

        reply = self.link.reply_to(finish)
        self.link.send(lambda: self._server.publish(subject, request, reply))
        self.after(ANSWER_WITHIN_S, lambda: finish(None))

    def _some(self) -> PauseRequest:
        kind = self.loop.random.choice(("", *self._kinds))
        return PauseRequest(kind, not kind)

    def _pause(self) -> None:
        self.is_content = False
        self._ask(SUBJECTS.pause, self._some(), lambda _: None)

    def _resume(self) -> None:
        self._ask(SUBJECTS.resume, self._some(), lambda _: None)

    def _requeue(self) -> None:
        dead = self._dead()
        if dead and self._requeues < MOST_REQUEUES:
            self._requeues += 1
            self._requeue_one(self.loop.random.choice(dead))

    def _requeue_one(self, task_id: str) -> None:
        def answered(new_id: str | None) -> None:
            if new_id is not None:
                self._on_requeued(task_id, new_id)
            if not self.is_calm and self.loop.chance(0.4):
                self._requeue_one(task_id)

        self._ask(SUBJECTS.requeue, LetterRequest(task_id), answered)

    def _discard(self) -> None:
        dead = self._dead()
        if dead:
            self._ask(SUBJECTS.discard, LetterRequest(self.loop.random.choice(dead)), lambda _: None)

    def calm_down(self) -> None:
        """Resume all, until somebody says that it is done; what was asked before may yet be stored."""
        self.is_calm = True
        if not self.is_content:
            self.after(ANSWER_WITHIN_S, self._resume_all)

    def _resume_all(self) -> None:
        def answered(answer: str | None) -> None:
            if answer is None:
                self._resume_all()
            else:
                self.is_content = True

        self._ask(SUBJECTS.resume, PauseRequest(all=True), answered)
