"""Drives the core by hand: a clock that the test moves, agents and tasks in one line each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import Choice, RouteReason
from outrider.broker.states import AgentState
from outrider.broker.subjects import LedgerAddress, Subjects
from outrider.ledger.entries import Assigned, Entry
from outrider.ledger.fold import Record
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.agent_table import AgentRecord
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.core import Core
from outrider.orchestrator.invariants import check_invariants

T = TypeVar("T", bound=do.Instruction)
SUBJECTS = Subjects("t")


class Drive:
    """A core, its instructions so far, and shortcuts for what usually happens."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.core = Core("me", thresholds)
        self.now = 100.0
        self.seq = 0
        self.done: list[do.Instruction] = []
        self.feed(events.Recovered())

    def feed(self, event: events.Event) -> list[do.Instruction]:
        out = self.core.handle(event, self.now)
        check_invariants(self.core.memory)
        self.done += out
        return out

    def last(self, kind: type[T]) -> T:
        return next(i for i in reversed(self.done) if isinstance(i, kind))

    def all(self, kind: type[T]) -> list[T]:
        return [i for i in self.done if isinstance(i, kind)]

    def join(self, name: str = "a", slots: int = 1, labels: tuple[str, ...] = ()) -> None:
        self.feed(events.AgentJoined(name, f"{name}-1", ("echo",), slots, labels, (), "host"))

    def pull(self, task_id: str, priority: int = 5, **fields: Any) -> None:
        task = events.TaskPulled(task_id, "echo", priority, TaskFacts(), (), 3, None, None, self.now)
        self.feed(replace(task, **fields))

    def route_by_rule(self) -> None:
        self.feed(events.RouteFailed(self.last(do.Route).round, RouteReason.FALLBACK_NO_ROUTER))

    def choose(self, task_id: str, agent_id: str, p90_s: float = 1.0) -> None:
        choice = Choice(task_id, agent_id, 0.5, p90_s, 0.5, RouteReason.MODEL)
        self.feed(events.Routed(self.last(do.Route).round, (choice,), "m1"))

    def store(self) -> int:
        """Let the newest write succeed; returns its sequence."""
        self.seq += 1
        asked = self.last(do.Write)
        self.feed(events.Written(asked.task_id, asked.number, self.seq))
        return self.seq

    def accept(self, task_id: str, epoch: int) -> None:
        self.feed(events.AssignAnswered(task_id, epoch, True, ""))

    def run(self, task_id: str = "t1", **fields: Any) -> int:
        """Bring one task to running; returns its epoch."""
        self.pull(task_id, **fields)
        self.route_by_rule()
        epoch = self.store()
        self.accept(task_id, epoch)
        return epoch

    def record(self, entry: Entry, writer: str, role: str = "agent") -> None:
        """An entry of somebody else arrives from the ledger."""
        self.seq += 1
        where = LedgerAddress(entry.task_id, role, writer)
        subject = f"t.ledger.{where.task_id}.{where.role}.{where.writer}"
        self.feed(events.EntryStored(Record(self.seq, subject, entry), self.now))

    def beat(self, name: str = "a", *running: int, state: AgentState = AgentState.ONLINE) -> None:
        slots = self.agent(name).slots
        self.feed(
            events.AgentBeat(name, f"{name}-1", state, slots, frozenset(running), frozenset(), None, None)
        )

    def agent(self, name: str = "a") -> AgentRecord:
        found = self.core.memory.agents.get(name)
        assert found is not None
        return found

    def wait(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass with the ticks of a healthy loop."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + step)
            self.feed(events.Ticked())

    def assigned_to(self) -> str:
        entry = self.last(do.Write).entry
        assert isinstance(entry, Assigned)
        return entry.agent_id
