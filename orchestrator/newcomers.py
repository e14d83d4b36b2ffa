"""Kinds that another orchestrator let in a moment ago: who does not know one waits a pulse and then refuses.

Costs nothing while a kind is known, or while this orchestrator is alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from outrider.orchestrator.core import Core

MOST_WAITING = 200
"""Requests that wait so at once; one more is refused without waiting."""


def announced(kind: str) -> str:
    """The key under which whoever waits for a kind is told; no task has such an id."""
    return f"kind/{kind}"


class Newcomers:
    """Whether a kind was ever declared, to this orchestrator or to one beside it."""

    def __init__(self, core: Core, until_told: Callable[[str], asyncio.Future[None]]) -> None:
        self._core = core
        self._until_told = until_told
        self._waiting = 0

    async def knows(self, kind: str) -> bool:
        """Whether an agent declared the kind; an unknown one is waited for, as long as a pulse takes."""
        declared = self._core.memory.agents.declared
        if kind not in declared and self._has_company() and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                with contextlib.suppress(TimeoutError):
                    await self._told(kind)
            finally:
                self._waiting -= 1
        return kind in declared

    @property
    def patience_s(self) -> float:
        thresholds = self._core.memory.thresholds
        return min(thresholds.kind_wait_s, thresholds.pulse_every_s)

    async def _told(self, kind: str) -> None:
        await asyncio.wait_for(self._until_told(announced(kind)), self.patience_s)

    def _has_company(self) -> bool:
        """Whether another orchestrator pulses."""
        memory = self._core.memory
        silent_s = memory.thresholds.owner_silent_s
        return any(
            who != memory.me and memory.now - heard_at <= silent_s for who, heard_at in memory.owners.items()
        )
