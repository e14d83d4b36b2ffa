"""Learns which attempts run: `running` is in no ledger and beats are rare, so the orchestrator is asked.

Only while somebody looks, only about tasks that are shown, and only a few at a time.
"""

from __future__ import annotations

import asyncio

from outrider.broker.background import Background
from outrider.broker.clock import Clock
from outrider.broker.errors import OutriderError
from outrider.broker.states import TaskState
from outrider.client import Client
from outrider.ui.hub import Hub
from outrider.ui.watches import Watches

ASK_EVERY_S = 1.0
MOST_ASKED = 20
NOT_BEFORE_S = 0.5


class RunningFinder:
    """Asks about assigned tasks until they are known to run. `run` ends when cancelled."""

    def __init__(self, client: Client, hub: Hub, watches: Watches, clock: Clock) -> None:
        self._client = client
        self._hub = hub
        self._watches = watches
        self._clock = clock

    async def run(self) -> None:
        """Ask every second while there are viewers."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            if self._hub.viewers:
                async with Background() as background:
                    for task_id in self._doubtful():
                        background.spawn(self._ask(task_id))

    def _doubtful(self) -> list[str]:
        projection, before = self._hub.projection, self._clock.wall() - NOT_BEFORE_S
        found = dict.fromkeys(self._watches.assigned())
        for task_id, row in projection.window().items():
            if row["state"] == TaskState.ASSIGNED and (row["assigned_at"] or 0.0) < before:
                found[task_id] = None
        return list(found)[:MOST_ASKED]

    async def _ask(self, task_id: str) -> None:
        try:
            view = await self._client.get(task_id)
        except OutriderError:
            return
        if view.state is TaskState.RUNNING:
            self._hub.projection.runs(task_id)
            self._watches.runs(task_id)
