"""What must hold of pauses and dead letters, judged without the product's own folds."""

from __future__ import annotations

from outrider.broker.messages import TaskEnvelope
from outrider.ledger.control import Control
from outrider.ledger.entries import Assigned
from outrider.orchestrator import events, instructions
from outrider.orchestrator.core import Core
from tests.sim.checks import LedgerChecks
from tests.sim.fake_client import Order
from tests.sim.fake_jetstream import Message
from tests.sim.fake_server import FakeServer
from tests.sim.sim_shell import SimShell

HEEDED_WITHIN_S = 8.0
"""How long after the pause, and after trouble, an orchestrator may not know of it."""


class OperatorChecks:
    """Sees what is stored and what cores want, beside the other checks."""

    def __init__(self, server: FakeServer, ledger: LedgerChecks, orders: dict[str, Order]) -> None:
        self._server = server
        self._ledger = ledger
        self._orders = orders
        self._paused: dict[str, float] = {}
        """Kinds, and the empty text for the fleet, since when."""
        self._again: dict[str, str] = {}
        """Dead tasks and what they were requeued as."""
        self._settled: set[str] = set()
        self._facts: set[tuple[str, str]] = set()

    def stored(self, message: Message) -> None:
        if isinstance(message.data, TaskEnvelope) and message.data.requeued_from is not None:
            self._task_again(message.data, message.data.requeued_from)
        elif isinstance(message.data, Control):
            self._decided(message.data)

    def _task_again(self, envelope: TaskEnvelope, source: str) -> None:
        ends = self._ledger.case(source).terminal
        self._ledger.must(ends == ["dead"], "only what is dead is requeued", envelope)
        before = self._again.setdefault(source, envelope.task_id)
        self._ledger.must(before == envelope.task_id, "a dead task is requeued as one task", envelope)
        now = self._server.loop.now
        self._orders.setdefault(envelope.task_id, Order(envelope, now, accepted_at=now))

    def _decided(self, control: Control) -> None:
        if control.type == "paused":
            self._paused.setdefault(control.kind, self._server.loop.now)
        elif control.type == "resumed":
            self._resumed(control.kind)
        else:
            fact = (control.type, control.task_id)
            self._ledger.must(fact not in self._facts, "a letter is dealt with once", control)
            self._facts.add(fact)
            self._settled.add(control.task_id)
        if control.type == "requeued":
            is_there = self._again.get(control.task_id) == control.requeued_as
            self._ledger.must(is_there, "what is said to be requeued exists", control)

    def _resumed(self, kind: str) -> None:
        if kind:
            self._paused.pop(kind, None)
        else:
            self._paused.clear()

    def requeued(self, task_id: str, new_id: str) -> None:
        """An operator was told so."""
        is_there = self._again.get(task_id) == new_id
        self._ledger.must(is_there, "who requeues is told the one new task", f"{task_id}: {new_id}")

    def dead(self) -> list[str]:
        """All dead tasks, those that were dealt with too."""
        return [task_id for task_id, case in self._ledger.cases.items() if case.terminal == ["dead"]]

    def handled(self, shell: SimShell, _: events.Event, done: list[instructions.Instruction]) -> None:
        for instruction in done:
            if isinstance(instruction, instructions.Write) and isinstance(instruction.entry, Assigned):
                self._may_start(shell, instruction.entry)

    def _may_start(self, shell: SimShell, entry: Assigned) -> None:
        paused_at = min((self._paused[k] for k in ("", entry.kind) if k in self._paused), default=None)
        if paused_at is None or self._server.weather.is_bad:
            return
        since = max(paused_at, shell.troubled_at, self._server.troubled_at)
        is_known = self._server.loop.now - since > HEEDED_WITHIN_S
        self._ledger.must(not is_known, "nothing starts while it is paused", entry)

    def check_index(self, core: Core, who: str) -> None:
        """An orchestrator lists exactly the dead tasks that nobody dealt with."""
        wanted = set(self.dead()) - self._settled
        listed = {letter.task_id for letter in core.memory.letters.newest_first()}
        self._ledger.must(listed == wanted, "every open dead letter is listed", f"{who}: {listed ^ wanted}")
        is_paused = core.memory.pauses.is_fleet_paused or bool(core.memory.pauses.paused_kinds)
        self._ledger.must(is_paused == bool(self._paused), "every orchestrator knows what is paused", who)
