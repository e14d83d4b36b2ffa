"""How a fake agent comes by large payloads and stores large results, as the recorder of agents/ does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from outrider.agents.outcome import classify
from outrider.broker.codec import dump
from outrider.broker.errors import OutriderError
from outrider.broker.messages import Assignment, AttemptError
from outrider.broker.object_ref import ref_of
from outrider.broker.objects import value_in
from outrider.broker.outcomes import Succeeded
from tests.sim.by_hand import drive
from tests.sim.fake_server import FakeServer
from tests.sim.handler_log import HandlerLog
from tests.sim.sim_effects import SimAppender
from tests.sim.sim_objects import SimObjects
from tests.sim.temper import Finished
from tests.sim.wire import Node


class AgentStore:
    """The object store in one life of an agent."""

    def __init__(self, server: FakeServer, node: Node, appender: SimAppender, log: HandlerLog) -> None:
        self._objects = SimObjects(server, node, appender)
        self._log = log

    def prepare(
        self,
        given: Assignment,
        is_wanted: Callable[[], bool],
        work: Callable[[Assignment], None],
        end: Callable[[int, AttemptError | None], None],
    ) -> None:
        """Get the payload of an attempt for its handler, which is not called without it."""
        ref = given.payload_ref
        assert ref is not None

        async def get() -> Any:
            return value_in(await self._objects.get(ref))

        def over(found: Any) -> None:
            if not is_wanted():
                return
            if isinstance(found, OutriderError):
                end(given.epoch, classify(found))
            else:
                self._log.on_got(given, found)
                work(given)

        drive(get(), over)

    def enlarge(self, entry: Succeeded, expect: int) -> Finished:
        """The outcome with its result beside it."""
        body = dump(entry.result)
        return Finished(replace(entry, result=None, result_ref=ref_of(body)), expect, body)

    def store(self, finished: Finished, then: Callable[[bool], None]) -> None:
        """Put a large result where its entry says that it is; `then` is told whether it is there."""
        ref = finished.ref
        if finished.is_stored or ref is None:
            then(True)
            return

        def over(result: object) -> None:
            finished.is_stored = not isinstance(result, OutriderError)
            then(finished.is_stored)

        drive(self._objects.put(ref, finished.body), over)
