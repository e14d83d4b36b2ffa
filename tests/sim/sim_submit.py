"""The shell's own Submission and Arrangements in virtual time: their code, driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from outrider.broker.errors import OutriderError
from outrider.broker.messages import TaskEnvelope
from outrider.orchestrator import events
from outrider.orchestrator.core import Core
from outrider.orchestrator.requests import Requests
from outrider.orchestrator.scheduled import Scheduled
from tests.sim.by_hand import HandAppender, HandConnection, HandReader, drive, pause
from tests.sim.fake_server import SUBJECTS, FakeServer, Reply
from tests.sim.sim_effects import SimEffects
from tests.sim.sim_objects import SimObjects
from tests.sim.sim_requests import Refusal
from tests.sim.wire import Node

LOOKS = 10


class SimSubmit:
    """What takes submits with options, in one life of an orchestrator."""

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
        connection = cast(Any, HandConnection(server, node))
        by_hand = cast(Any, SimpleNamespace(appender=HandAppender(effects.appender)))
        self._requests = Requests(connection, SUBJECTS, core, by_hand, cast(Any, node.clock), post)
        self._submission = self._requests._submission
        self._read_by_hand()
        vars(self._requests._newcomers)["_told"] = self._told
        vars(self._submission)["_objects"] = SimObjects(server, node, effects.appender)

    def _read_by_hand(self) -> None:
        requests, server = self._requests, self._server
        for user, stream in (
            (requests._ledger, server.ledger),
            (requests._waiting, server.tasks),
            (requests._scheduled, server.later_stream),
            (requests._arrangements._keys, server.keys),
        ):
            vars(user)["_reader"] = HandReader(server, self._node, stream)

    async def _told(self, kind: str) -> None:
        """Wait for a kind, looking now and then."""
        newcomers = self._requests._newcomers
        for _ in range(LOOKS):
            if kind in self._core.memory.agents.declared:
                return
            await pause(self._node, newcomers.patience_s / LOOKS)

    def serve(self) -> None:
        self._server.subscribe(self._node.link, SUBJECTS.submit, self._asked, "orchestrator")

    def _asked(self, _: str, data: bytes, reply: Reply | None) -> None:
        def answer(result: object) -> None:
            if reply is not None:
                said = Refusal(result) if isinstance(result, OutriderError) else result
                self._node.link.send(lambda: reply(said))

        drive(self._submission.submit("", data), answer)

    async def quiet(self, task: Scheduled, fired_at: float) -> TaskEnvelope | None:
        """What a debounced task's time means."""
        return await self._requests._arrangements.quiet(task, fired_at)
