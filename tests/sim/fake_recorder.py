"""How a fake agent records: compare-and-set, again after silence, settled when refused, kept until then.

Follows agents/recorder.py; runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from outrider.broker.messages import Settle, Settled, Verdict
from tests.sim.agent_store import AgentStore
from tests.sim.fake_jetstream import WRONG_SEQUENCE, PubAnswer
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.sim_effects import SimAppender
from tests.sim.temper import Finished, Profile
from tests.sim.wire import Node

SETTLE_WITHIN_S = 3.0


class FakeRecorder(Node):
    """The part of an agent that brings outcomes into the ledger."""

    _appender: SimAppender
    _store: AgentStore

    def __init__(self, server: FakeServer, profile: Profile) -> None:
        super().__init__(server.loop, server.new_link(), profile.agent_id)
        self._server = server
        self.profile = profile
        self.spool: dict[tuple[str, int], Finished] = {}

    @property
    def agent_id(self) -> str:
        return self.profile.agent_id

    def _leave_if_drained(self) -> None:
        """Told of every outcome that is settled."""

    def _append(self, finished: Finished, on_answer: Callable[[PubAnswer], None]) -> None:
        entry = finished.entry
        subject = SUBJECTS.ledger_agent(entry.task_id, self.agent_id)
        self._appender.send(subject, entry, on_answer, finished.expect, SUBJECTS.story(entry.task_id))

    def _record(self, finished: Finished) -> None:
        if self.spool.get((finished.entry.task_id, finished.entry.attempt)) is not finished:
            return

        def receipt(answer: PubAnswer) -> None:
            if answer.seq:
                self._done(finished)
            elif answer.err_code == WRONG_SEQUENCE:
                self._settle(finished)
            else:
                self._again(finished)

        self._store.store(
            finished, lambda is_there: self._append(finished, receipt) if is_there else self._again(finished)
        )

    def _again(self, finished: Finished) -> None:
        self.after(self.loop.random.uniform(0.1, 2.0), lambda: self._record(finished))

    def _done(self, finished: Finished) -> None:
        self.spool.pop((finished.entry.task_id, finished.entry.attempt), None)
        self._leave_if_drained()

    def _settle(self, finished: Finished) -> None:
        is_open = True

        def finish(answer: Any) -> None:
            nonlocal is_open
            if not is_open:
                return
            is_open = False
            if not isinstance(answer, Settled):
                self._again(finished)
            elif answer.verdict is Verdict.RESEND:
                finished.entry = replace(finished.entry, epoch=answer.epoch)
                finished.expect = answer.expect
                self._again(finished)
            else:
                self._done(finished)

        entry = finished.entry
        reply = self.link.reply_to(finish)
        request = Settle(entry.task_id, entry.epoch)
        subject = SUBJECTS.agent(self.agent_id, "settle")
        self.link.send(lambda: self._server.publish(subject, request, reply))
        self.after(SETTLE_WITHIN_S, lambda: finish(None))
