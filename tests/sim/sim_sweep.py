"""The shell's own QueueSweep in virtual time: its code, driven by hand; only its `run` is told anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from outrider.ledger.fold import Record
from outrider.orchestrator import events
from outrider.orchestrator.core import Core
from outrider.orchestrator.sweep import A_PAGE, QueueSweep
from outrider.orchestrator.waiting import WaitingTasks
from tests.sim.by_hand import HandAppender, HandConnection, HandReader, drive
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.sim_effects import SimEffects
from tests.sim.wire import Node


class SimSweep:
    """One sweep of one life of an orchestrator."""

    def __init__(
        self,
        server: FakeServer,
        node: Node,
        core: Core,
        effects: SimEffects,
        post: Callable[[events.Event], None],
    ) -> None:
        self._node = node
        self._post = post
        self._limits = core.memory.thresholds
        connection, appender = cast(Any, HandConnection(server, node)), HandAppender(effects.appender)
        self.waiting = WaitingTasks(connection, SUBJECTS, core.memory.me, cast(Any, appender), self._recorded)
        self.sweep = QueueSweep(
            connection,
            SUBJECTS,
            self.waiting,
            cast(Any, HandReader(server, node, server.ledger)),
            cast(Any, node.clock),
            core.memory.tasks.__contains__,
        )
        vars(self.sweep)["_reader"] = HandReader(server, node, server.tasks)

    def _recorded(self, record: Record) -> None:
        self._post(events.EntryStored(record, self._node.clock.now()))

    def run_forever(self) -> None:
        """Again and again, the next a while after the last has ended."""
        self._node.after(self._limits.sweep_every_s, self._begin)

    def _begin(self) -> None:
        if self._node.link.is_up:
            drive(self._once(), lambda _: self.run_forever())
        else:
            self.run_forever()

    async def _once(self) -> None:
        await self.sweep._end_late_ones()
        await self.sweep._look_on(self._limits.sweep_every_s, A_PAGE / self._limits.sweep_per_s)
