"""Carries out the faults of a plan, each at a moment when its victim has work in hand if one comes soon."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.prove.book import Book
from tests.prove.fleet import Fleet
from tests.prove.notes import Execution
from tests.prove.parts import Part
from tests.prove.passing import pass_time
from tests.prove.plan import Fault

MOMENT_WITHIN_S = 3.0
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault as it was: whom it hit, and when."""

    fault: Fault
    at: float
    victim: str
    """Who the process said it is: `agent agent-1`, `orchestrator o-1a2b3c`, or the role."""
    pid: int

    def had_work(self, book: Book, executions: dict[str, Execution]) -> bool:
        """Whether the victim had work in hand at that moment.

        An agent: a handler had started and not ended. An orchestrator: it owned an unfinished task. The
        router: a task waited for an agent. Bridge and server: any accepted task was unfinished.
        """
        role = self.fault.role
        if role == "agent":
            return any(run.pid == self.pid and run.runs_at(self.at) for run in executions.values())
        if role == "orchestrator":
            return bool(book.owned(self.victim.rpartition(" ")[2], self.at))
        if role == "router":
            return bool(book.unrouted(self.at))
        return bool(book.unfinished(self.at))


class Striker:
    """Strikes the parts of one fleet and mends what it did."""

    def __init__(self, fleet: Fleet, live: Book) -> None:
        self._fleet = fleet
        self._live = live
        self.blows: list[Blow] = []

    async def strike(self, fault: Fault) -> asyncio.Task[None]:
        """Wait for a good moment, strike; returns the task that mends it after `down_s`."""
        await pass_time(fault.lead_s)
        part = await self._standing(fault)
        until = time.time() + MOMENT_WITHIN_S
        while not self._blow(fault, part).had_work(self._live, self._fleet.executions()):
            if time.time() > until:
                break
            await pass_time(LOOK_EVERY_S)
            part = await self._standing(fault)
        self.blows.append(self._blow(fault, part))
        if part is None:
            self._strike_server(fault)
        else:
            _strike_part(fault, part)
        return asyncio.create_task(self._mend(fault, part))

    async def _standing(self, fault: Fault) -> Part | None:
        """The victim, once it stands: the one of the fault's seat, else another of its role."""
        while True:
            if fault.role == "server":
                if not self._fleet.server_is_down:
                    return None
            else:
                seats = self._fleet.parts[fault.role]
                in_turn = seats[fault.seat :] + seats[: fault.seat]
                standing = [part for part in in_turn if not part.is_down]
                if standing:
                    return standing[0]
            await pass_time(LOOK_EVERY_S)

    def _blow(self, fault: Fault, part: Part | None) -> Blow:
        if part is None:
            return Blow(fault, time.time(), "server", self._fleet.server.pid)
        lives = part.lives
        return Blow(fault, time.time(), lives[-1] if lives else part.role, part.pid)

    def _strike_server(self, fault: Fault) -> None:
        if fault.action == "kill":
            self._fleet.kill_server()
        else:
            self._fleet.freeze_server()

    async def _mend(self, fault: Fault, part: Part | None) -> None:
        await pass_time(fault.down_s)
        if part is not None:
            part.again() if fault.action == "kill" else part.thaw()
            part.is_down = False
        elif fault.action == "kill":
            await self._fleet.start_server()
        else:
            self._fleet.thaw_server()


def _strike_part(fault: Fault, part: Part) -> None:
    part.is_down = True
    if fault.action == "kill":
        part.kill()
    else:
        part.freeze()
