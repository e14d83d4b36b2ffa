"""Pause and resume on request: the decision goes into the ledger, from where every orchestrator has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from outrider.broker.codec import decode
from outrider.broker.errors import UnknownKind
from outrider.broker.pausing import PauseRequest, PauseState
from outrider.ledger.control import Control, pause_control_id
from outrider.orchestrator import events
from outrider.orchestrator.control import folded
from outrider.orchestrator.desk import Desk
from outrider.orchestrator.newcomers import Newcomers


class PauseDesk:
    """The endpoints about pauses of one orchestrator."""

    def __init__(
        self, desk: Desk, until_told: Callable[[str], asyncio.Future[None]], newcomers: Newcomers
    ) -> None:
        self._desk = desk
        self._memory = desk.core.memory
        self._until_told = until_told
        self._newcomers = newcomers

    async def pause(self, _: str, data: bytes) -> PauseState:
        """Start no more attempts of a kind, or of any. Raises InvalidTask or UnknownKind."""
        request = decode(PauseRequest, data).check()
        declared = self._memory.agents.declared
        if request.kind and not await self._newcomers.knows(request.kind):
            known = ", ".join(sorted(declared)) or "none so far"
            raise UnknownKind(f"no agent ever declared kind {request.kind!r}; known kinds: {known}")
        if not self._is_paused(request):
            await self._say("paused", request)
        return self._state()

    async def resume(self, _: str, data: bytes) -> PauseState:
        """Let a kind go on, or all that is paused. Raises InvalidTask."""
        request = decode(PauseRequest, data).check()
        pauses = self._memory.pauses
        if self._is_paused(request) or (request.all and pauses.paused_kinds):
            await self._say("resumed", request)
        return self._state()

    def _is_paused(self, request: PauseRequest) -> bool:
        pauses = self._memory.pauses
        return pauses.is_fleet_paused if request.all else request.kind in pauses.paused_kinds

    async def _say(self, type_: str, request: PauseRequest) -> None:
        """Store the decision and return once our own core acts on it."""
        me, at = self._memory.me, self._desk.clock.wall()
        control = Control(type_, request.kind, reason=request.reason, orchestrator=me, at=at)
        seq = await self._desk.record(control, pause_control_id(request.kind))
        told = self._until_told(folded(seq))
        self._desk.post(events.ControlStored(control, seq))
        await told

    def _state(self) -> PauseState:
        pauses = self._memory.pauses
        return PauseState(pauses.is_fleet_paused, pauses.paused_kinds)
