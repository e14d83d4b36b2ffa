"""The shell's own DueTasks in virtual time: its code, driven by hand; only pulling is told anew."""

from __future__ import annotations

from typing import Any, cast

from outrider.broker.errors import OutriderError
from outrider.broker.pipeline import Pulled
from outrider.orchestrator.due import ASK_EVERY_S, TRY_AGAIN_S, DueTasks, OnDebounced
from outrider.orchestrator.keys import Keys
from outrider.orchestrator.waiting import WaitingTasks
from tests.sim.by_hand import HandAppender, HandReader, drive
from tests.sim.fake_jetstream import Delivery
from tests.sim.fake_server import DUE, SUBJECTS, FakeServer
from tests.sim.sim_effects import SimEffects
from tests.sim.sim_feed import SimPuller
from tests.sim.wire import Node

MOST_ON_THE_WAY = 4


class SimDue:
    """What moves due tasks, in one life of an orchestrator."""

    def __init__(
        self,
        server: FakeServer,
        node: Node,
        effects: SimEffects,
        waiting: WaitingTasks,
        on_debounced: OnDebounced,
    ) -> None:
        self._server = server
        self._node = node
        appender = cast(Any, HandAppender(effects.appender))
        keys = Keys(cast(Any, None), SUBJECTS, appender)
        vars(keys)["_reader"] = HandReader(server, node, server.keys)
        self.due = DueTasks(cast(Any, None), SUBJECTS, appender, keys, waiting, on_debounced)
        self._puller = SimPuller(server, node, DUE, lambda _, delivery: self._arrived(delivery))

    def run_forever(self) -> None:
        if self._server.later is None:
            return
        if self._node.link.is_up:
            self._puller.want(MOST_ON_THE_WAY)
        self._node.after(ASK_EVERY_S, self.run_forever)

    def reconnected(self) -> None:
        self._puller.reconnected()

    def _arrived(self, delivery: Delivery) -> None:
        later = self._server.later
        if later is not None:
            pulled: Pulled = later(delivery)
            drive(self.due._move(pulled), lambda result: self._over(delivery, result))

    def _over(self, delivery: Delivery, result: object) -> None:
        """Acked when TASKS has it, or given back for a moment."""
        word = "-NAK" if isinstance(result, OutriderError) else "+ACK"
        acknowledge = self._server.acknowledge
        self._node.link.send(lambda: acknowledge(DUE, delivery, word, TRY_AGAIN_S))
