"""The product's own ObjectStore in virtual time: driven by hand, over replicas that may be behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from outrider.broker.object_ref import ObjectRef, ref_of
from outrider.broker.objects import ObjectStore
from tests.sim.by_hand import HandAppender, HandConnection, HandReader, pause
from tests.sim.fake_jetstream import FakeStream, Message
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.sim_effects import SimAppender
from tests.sim.wire import Node

LARGEST = 10_000


class LateReader(HandReader):
    """Reads of the object store, each answered by some replica."""

    def __init__(self, server: FakeServer, node: Node) -> None:
        super().__init__(server, node, server.objects)
        self._server = server

    async def _find(self, find: Callable[[FakeStream], list[Message]]) -> list[Message]:
        now, lag_s = self._server.loop.now, self._server.objects.lag_s()
        return [m for m in await super()._find(find) if not lag_s or m.stored_at <= now - lag_s]


class SimObjects(ObjectStore):
    """The object store as one life of a process uses it."""

    def __init__(self, server: FakeServer, node: Node, appender: SimAppender) -> None:
        connection, by_hand = HandConnection(server, node), HandAppender(appender)
        clock = cast(Any, node.clock)
        super().__init__(cast(Any, connection), SUBJECTS, cast(Any, by_hand), LARGEST, clock)
        vars(self)["_reader"] = LateReader(server, node)
        self._node = node
        self._uploads = 0

    async def _pause(self, pause_s: float) -> None:
        await pause(self._node, pause_s)

    async def _ref_of(self, body: bytes) -> ObjectRef:
        return ref_of(body)

    def _new_upload(self, ref: ObjectRef) -> str:
        self._uploads += 1
        return f"{self._node.name}{self._node.life}n{self._uploads}x{ref.sha256}"
