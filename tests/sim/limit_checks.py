"""What must hold of limits, counted from the entries of the ledger and from the stream of limits alone.

Which limits concern a task is found here anew, so that a defect of the product does not blind the judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from outrider.broker.limits import ANY, Limit
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.subjects import parse_ledger
from outrider.ledger.entries import Assigned, Ended
from outrider.orchestrator import events, instructions
from tests.sim.checks import SLACK_S, LedgerChecks
from tests.sim.fake_jetstream import Message
from tests.sim.fake_server import FakeServer
from tests.sim.scenario import Scenario
from tests.sim.sim_shell import SimShell

KNOWN_WITHIN_S = 8.0
AT_ONCE_S = 0.6
"""Two orchestrators that start within a round of routing do not know of each other."""
MINUTE_S = 60.0


@dataclass(slots=True)
class Start:
    """One attempt that the ledger holds."""

    task_id: str
    kind: str
    key: str | None
    writer: str
    seq: int
    at: float
    tokens: float
    is_live: bool = True
    is_rejected: bool = False
    known: int = 0
    """The last word on limits that its writer knew when it let it into a round."""


@dataclass(frozen=True, slots=True)
class Word:
    """What was said of one limit, and where in the stream."""

    seq: int
    limit: Limit


class LimitChecks:
    """Sees every store, and what each orchestrator has heard and asks the router about."""

    def __init__(self, scenario: Scenario, server: FakeServer, ledger: LedgerChecks) -> None:
        self._scenario = scenario
        self._server = server
        self._ledger = ledger
        self.shells: list[SimShell] = []
        self._words: list[Word] = []
        self._heard_at: dict[tuple[str, int], float] = {}
        self._granted: dict[tuple[str, str], int] = {}
        """(orchestrator, task) to the last word it knew when it let the task into a round."""
        self._starts: dict[int, Start] = {}
        self._busy: set[tuple[str, str]] = set()
        """(orchestrator, task) whose story is written or read: what it hears meanwhile may pass it by."""
        self._held: dict[tuple[str, str, str | None], float] = {}
        """Until when an orchestrator must leave a kind and key alone, as a provider said."""

    # What happens

    def stored(self, message: Message) -> None:
        """After the ledger's own checks have seen it."""
        if isinstance(message.data, Limit):
            self._words.append(Word(message.seq, message.data))
        if not self._scenario.changes or ".ledger." not in message.subject:
            return
        where, entry = parse_ledger(message.subject), message.data
        if self._ledger.case(where.task_id).epoch != message.seq:
            return
        if isinstance(entry, Assigned):
            self._begun(message, where.writer, entry)
        elif entry.epoch in self._starts:
            self._over(self._starts[entry.epoch], entry)

    def _begun(self, message: Message, writer: str, entry: Assigned) -> None:
        tokens = entry.facts.prompt_chars / 4 + entry.facts.max_tokens
        key = self._ledger.order(entry.task_id).envelope.limit_key
        start = Start(entry.task_id, entry.kind, key, writer, message.seq, self._server.loop.now, tokens)
        self._starts[message.seq] = start
        shell = next((s for s in self.shells if s.orchestrator_id == writer and s.is_alive), None)
        known = self._granted.get((writer, entry.task_id))
        start.known = known or 0
        if shell is None or known is None:
            return
        for scope in (ANY, entry.kind):
            for whose in dict.fromkeys((None, key)):
                limit = self._limit_for(scope, whose, known)
                if limit is not None:
                    self._judge(shell, start, entry, scope, whose, limit, known)

    def _over(self, start: Start, entry: object) -> None:
        start.is_live = False
        if isinstance(entry, Ended) and entry.type == "rejected":
            start.is_rejected, start.tokens = True, 0.0
        if isinstance(entry, (Succeeded, Failed)):
            used = entry.usage.tokens_in + entry.usage.tokens_out
            if used or _asks_to_wait(entry):
                start.tokens = float(used)

    # What is limited

    def _limit_for(self, scope: str, key: str | None, known: int) -> Limit | None:
        """The limit of one kind or all, and of one key or all tasks, as somebody knew it."""
        last = {w.limit.key: w.limit for w in self._words if w.seq <= known and w.limit.kind == scope}
        in_force = {name: limit for name, limit in last.items() if not limit.is_nothing}
        if key is None:
            return in_force.get("")
        if key in in_force:
            return in_force[key]
        fitting = [n for n in in_force if n.endswith(ANY) and key.startswith(n[:-1])]
        return in_force[max(fitting, key=len)] if fitting else None

    def _since(self, shell: SimShell, scope: str, key: str | None, known: int) -> float:
        """When this orchestrator heard the last word that can have changed what concerns such a task."""
        heard = [
            self._heard_at.get((shell.orchestrator_id, w.seq), shell.started_at)
            for w in self._words
            if w.seq <= known and w.limit.kind == scope and (w.limit.key == "") == (key is None)
        ]
        return max(heard, default=0.0)

    # What must hold

    def _judge(
        self,
        shell: SimShell,
        new: Start,
        entry: Assigned,
        scope: str,
        key: str | None,
        limit: Limit,
        known: int,
    ) -> None:
        alike = [s for s in self._starts.values() if scope in (ANY, s.kind) and (key is None or s.key == key)]
        sure = [s for s in alike if self._knows(shell, s)]
        since = self._since(shell, scope, key, known)
        if limit.concurrency is not None:
            running = sum(s.is_live for s in sure)
            what = f"{running} of {limit}, {new}"
            self._ledger.must(running <= limit.concurrency, "no more at once than the limit", what)
            if self._is_calm(since) and entry.attempt == 1 and not self._waits(new):
                others = sum(s.is_live and (s.seq == new.seq or s.at < new.at - AT_ONCE_S) for s in alike)
                rule = "no more at once than the limit, whoever starts them"
                self._ledger.must(others <= limit.concurrency, rule, f"{others} of {limit}, {new}")
        # What was on its way when a limit was set is not counted by it.
        word = max((w.seq for w in self._words if w.seq <= known and w.limit.kind == scope), default=0)
        counted = [s for s in sure if s.at >= since and s.seq > shell.feed.snapshot_seq and s.known >= word]
        if self._scenario.is_skewed:
            counted = [s for s in counted if s.writer == new.writer]
        self._judge_windows(new, limit, counted)

    def _judge_windows(self, new: Start, limit: Limit, counted: list[Start]) -> None:
        if limit.rate is not None:
            begun = [s for s in counted if s.at > new.at - limit.per_s and not s.is_rejected]
            what = f"{len(begun)} of {limit}, {new}"
            self._ledger.must(len(begun) <= limit.rate, "no more starts in any window than the rate", what)
        if limit.tokens_per_minute is not None:
            spent = sum(s.tokens for s in counted if s.at > new.at - MINUTE_S)
            is_alone = spent - new.tokens < 0.5
            what = f"{spent} of {limit}, {new}"
            is_within = is_alone or spent <= limit.tokens_per_minute
            self._ledger.must(is_within, "no more tokens in any minute than the budget", what)

    def _knows(self, shell: SimShell, start: Start) -> bool:
        """Whether no delay can excuse that this orchestrator does not count it."""
        return start.writer == shell.orchestrator_id or start.seq <= shell.feed.recovered_seq

    def _waits(self, start: Start) -> bool:
        return self._ledger.order(start.task_id).envelope.waits is not None

    def _is_calm(self, since: float) -> bool:
        """Whether everybody there hears everything at once, and has for a while."""
        now = self._server.loop.now
        if self._server.weather.is_bad or now - max(since, self._server.troubled_at) < KNOWN_WITHIN_S:
            return False
        return all(
            s.is_alive
            and not s.is_frozen
            and s.core.memory.is_recovered
            and now - max(s.troubled_at, s.started_at) > KNOWN_WITHIN_S
            for s in self.shells
        )

    # What orchestrators hear and do

    def handled(self, shell: SimShell, event: events.Event, done: list[instructions.Instruction]) -> None:
        if not self._scenario.changes:
            return
        me = shell.orchestrator_id
        if isinstance(event, events.LimitSet):
            self._heard_at[me, event.seq] = self._server.loop.now
        elif isinstance(event, events.EntryStored):
            self._heard_entry(me, event)
        elif isinstance(event, (events.Written, events.StoryRead)):
            self._busy.discard((me, event.task_id))
        for instruction in done:
            if isinstance(instruction, instructions.Route):
                self._asked(shell, instruction)
            elif isinstance(instruction, (instructions.Write, instructions.ReadStory)):
                self._busy.add((me, instruction.task_id))

    def _heard_entry(self, me: str, event: events.EntryStored) -> None:
        entry, seq = event.record.entry, event.record.seq
        start = self._starts.get(entry.epoch)
        is_told = isinstance(entry, Failed) and _asks_to_wait(entry) and (me, entry.task_id) not in self._busy
        if not is_told or not isinstance(entry, Failed) or start is None:
            return
        recovering = any(s.orchestrator_id == me and not s.core.memory.is_recovered for s in self.shells)
        if self._scenario.is_skewed and recovering:
            # How long ago the past was is told by a wall clock, which may be wrong here.
            return
        if self._ledger.case(entry.task_id).epoch == seq:
            where = (me, start.kind, start.key)
            until = self._server.ledger.messages[seq].stored_at + (entry.error.retry_after_s or 0.0)
            self._held[where] = max(until, self._held.get(where, 0.0))

    def _asked(self, shell: SimShell, i: instructions.Route) -> None:
        me, now = shell.orchestrator_id, self._server.loop.now
        known = self._known_by(shell)
        for asked in i.request.tasks:
            self._granted[me, asked.task_id] = known
            key = self._ledger.order(asked.task_id).envelope.limit_key
            until = self._held.get((me, asked.kind, key), 0.0)
            self._ledger.must(now >= until - SLACK_S, "who is asked to wait waits", f"{asked} until {until}")

    def _known_by(self, shell: SimShell) -> int:
        """The last word that this orchestrator must know of."""
        now, me = self._server.loop.now, shell.orchestrator_id
        troubled_at = max(shell.troubled_at, self._server.troubled_at)
        is_well = now - troubled_at > KNOWN_WITHIN_S and not self._server.weather.is_bad
        before = max(shell.started_at, now - KNOWN_WITHIN_S if is_well else 0.0)
        old = [m.seq for m in self._server.limits.messages.values() if m.stored_at < before]
        heard = [seq for who, seq in self._heard_at if who == me]
        return max((*old, *heard), default=0)


def _asks_to_wait(entry: Succeeded | Failed) -> bool:
    if isinstance(entry, Succeeded):
        return False
    return entry.error.error_class == "rate_limited" and entry.error.retry_after_s is not None
