"""What must hold in an orchestrator's memory after each event, and between it and the ledger.

Looks on; the product's own check_invariants is asked first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from outrider.ledger.control import Control
from outrider.ledger.entries import Assigned, Closed, Hedged, Member
from outrider.ledger.fold import Record, Story
from outrider.ledger.rules import Phase
from outrider.orchestrator import events, instructions
from outrider.orchestrator.core import Core
from outrider.orchestrator.invariants import BrokenInvariant, check_invariants
from outrider.orchestrator.limit_bucket import LEAST_PARKED
from outrider.orchestrator.transitions import LIVE, TaskPhase
from tests.sim.checks import LedgerChecks
from tests.sim.fake_archive import as_message
from tests.sim.fake_jetstream import Message
from tests.sim.fake_server import SUBJECTS, FakeServer
from tests.sim.scenario import Scenario
from tests.sim.sim_shell import SimShell

KNOWN_WITHIN_S = 8.0
"""How long after the faults an orchestrator may not know of a task in the ledger."""


def durable(story: Story) -> tuple[object, ...]:
    """What every fold of the same entries must agree on."""
    return (
        story.phase,
        story.epoch,
        story.expect,
        story.attempt,
        story.charged,
        story.uncharged_in_a_row,
        story.agent_id,
        story.begun,
        None if story.other is None else (story.other.attempt, story.other.agent_id, story.other.begun),
        None if story.pair is None else (story.pair.newest, story.pair.epochs, story.pair.is_charged),
        story.owner,
        story.envelope_seq,
        len(story.errors),
    )


class CoreChecks:
    """Sees every event that a core handled, with what it wants done."""

    def __init__(self, scenario: Scenario, server: FakeServer, ledger: LedgerChecks) -> None:
        self._limits = scenario.thresholds
        self._parked = LEAST_PARKED if scenario.changes else 0
        self._is_skewed = scenario.is_skewed
        self._slots = sum(profile.temper.slots for profile in scenario.profiles)
        self._server = server
        self._ledger = ledger
        self.on_fresh: Callable[[Core, str], None] = lambda core, who: None
        """Further checks of a core that was folded anew."""
        self._hedges: Counter[str] = Counter()
        """Second attempts that were begun in each life of an orchestrator."""
        self._reading: set[tuple[str, str]] = set()
        """Who is reading which story, because it knows that it may be wrong."""

    def handled(self, shell: SimShell, event: events.Event, done: list[instructions.Instruction]) -> None:
        if not done and isinstance(event, events.Ticked):
            return
        self._check_invariants(shell.core)
        task_id = getattr(event, "task_id", None)
        if isinstance(event, events.EntryStored):
            task_id = event.record.entry.task_id
        if isinstance(event, events.StoryRead):
            self._reading.discard((shell.orchestrator_id, event.task_id))
        for instruction in done:
            if isinstance(instruction, instructions.ReadStory):
                self._reading.add((shell.orchestrator_id, instruction.task_id))
        if task_id is not None:
            self._compare(shell, task_id)
        for instruction in done:
            if isinstance(instruction, instructions.Write):
                self._may_write(shell, instruction)
            elif isinstance(instruction, instructions.WriteMember):
                self._may_blame(instruction.member)
            elif isinstance(instruction, instructions.Route):
                self._is_best_first(shell, instruction)
            elif isinstance(instruction, instructions.Announce):
                self._stops_the_loser(shell, instruction, done)
        self._is_bounded(shell)

    def _stops_the_loser(
        self, shell: SimShell, i: instructions.Announce, done: list[instructions.Instruction]
    ) -> None:
        """Of two attempts the one that came too late is told at once."""
        late = self._ledger.late.get(i.task_id)
        told = {one.agent_id for one in done if isinstance(one, instructions.StopAttempt)}
        is_meant = late is not None and i.state == "succeeded" and shell.core.memory.is_recovered
        self._ledger.must(not is_meant or late in told, "the loser of two is stopped", i)

    def _check_invariants(self, core: Core) -> None:
        try:
            check_invariants(core.memory)
        except BrokenInvariant as problem:
            self._ledger.broken("check_invariants", problem.message)

    def _compare(self, shell: SimShell, task_id: str) -> None:
        """Memory equals the fold, as far as memory has heard."""
        task = shell.core.memory.tasks.get(task_id)
        story = self._ledger.stories.get(task_id, Story(task_id))
        if task is None or (shell.orchestrator_id, task_id) in self._reading:
            return
        self._ledger.must(task.story.expect <= story.expect, "memory is not ahead of the ledger", task)
        if task.writing is None and task.story.expect == story.expect:
            live, fold = durable(task.story), durable(story)
            self._ledger.must(live == fold, "memory equals the fold", f"{task_id}: {live} != {fold}")
            is_live = task.phase in LIVE
            self._ledger.must(is_live == story.is_live, "a live attempt is known as live", task)

    def _may_write(self, shell: SimShell, i: instructions.Write) -> None:
        memory, now = shell.core.memory, self._server.loop.now
        task = memory.tasks[i.task_id]
        owner = task.story.owner
        if owner not in ("", shell.orchestrator_id) and not isinstance(i.entry, Closed):
            silence_s = now - shell.pulses_heard.get(owner, -1e9)
            is_silent = silence_s > self._limits.owner_silent_s - 0.01
            # What was taken over may still be on its way when the owner is heard again: the ledger decides.
            was_silent = owner in shell.back_at
            self._ledger.must(
                is_silent or was_silent, "nobody takes over before silence", f"{silence_s} {i.entry}"
            )
        if isinstance(i.entry, Hedged):
            self._may_hedge(shell, i.entry)
        if not isinstance(i.entry, (Assigned, Hedged)):
            return
        agent = memory.agents.get(i.entry.agent_id)
        is_room = agent is not None and agent.in_flight <= agent.slots
        self._ledger.must(is_room, "no agent gets more than its slots", i.entry)
        deadline = self._ledger.order(i.task_id).deadline
        is_calm = now - shell.troubled_at > 3.0 and not self._is_skewed
        is_late = deadline is not None and now > deadline + 1.5
        self._ledger.must(not (is_late and is_calm), "nothing starts after its deadline", i.entry)

    def _may_hedge(self, shell: SimShell, entry: Hedged) -> None:
        """On a slot that nobody waits for, for what is slow, and within this orchestrator's budget."""
        memory = shell.core.memory
        self._hedges[shell.orchestrator_id] += 1
        most = 1 + self._limits.hedge_share * memory.counters["attempts"]
        self._ledger.must(self._hedges[shell.orchestrator_id] <= most, "extra work within the budget", entry)
        agent = memory.agents.get(entry.agent_id)
        kinds = () if agent is None else agent.kinds
        waiting = [
            task.task_id
            for task in memory.tasks.values()
            if task.phase is TaskPhase.HELD and task.writing is None and task.kind in kinds
            if not task.requires and task.parked_at is None and not memory.pauses.covers(task.kind)
        ]
        self._ledger.must(not waiting, "no second attempt while tasks wait for the slot", waiting)
        self._ledger.must(entry.ran_s >= entry.expected_s, "only what is slow is hedged", entry)

    def _may_blame(self, member: Member) -> None:
        if member.type == "offline" and member.why.startswith("silent"):
            is_meant = self._ledger.agents[member.agent_id].instance == member.instance
            is_blameless = is_meant and self._ledger.could_beat(member.agent_id)
            self._ledger.must(not is_blameless, "nobody is blamed for our own stall", member)

    def _is_best_first(self, shell: SimShell, i: instructions.Route) -> None:
        memory = shell.core.memory
        left: dict[str, int] = {}
        for task in memory.tasks.values():
            may_begin = not memory.is_ledger_full or task.story.phase is not Phase.UNWRITTEN
            is_held = task.phase is TaskPhase.HELD and task.writing is None and task.parked_at is None
            if is_held and not task.requires and may_begin:
                left[task.kind] = min(left.get(task.kind, 9), task.priority)
        for asked in i.request.tasks:
            has_begun = memory.tasks[asked.task_id].story.phase is not Phase.UNWRITTEN
            may_be_asked = has_begun or not memory.is_ledger_full
            self._ledger.must(may_be_asked, "nothing new begins while the ledger is nearly full", asked)
            best = left.get(asked.kind, 9)
            waited_s = memory.now - memory.tasks[asked.task_id].ready_at
            is_aged = waited_s >= (asked.priority - best) * self._limits.ageing_s
            is_fair = asked.priority <= best or is_aged
            self._ledger.must(is_fair, "highest priority first", f"{asked} before {best}")

    def _is_bounded(self, shell: SimShell) -> None:
        most = 2 * (self._slots + self._limits.lookahead + self._parked) + 2
        for key, held in shell.core.memory.held.items():
            self._ledger.must(held <= most, "held tasks are bounded", f"{key}: {held} > {most}")

    def compare_with_fresh(self) -> None:
        """A core folded anew knows exactly what the ledger says, from its beginning or from a snapshot."""
        messages = list(self._server.ledger.messages.values())
        self._compare_fold(messages)
        kept = self._server.archive.newest()
        if kept.seq:
            begun = [as_message(stored) for stored in kept.entries]
            self._compare_fold(begun + [m for m in messages if m.seq > kept.seq])

    def _compare_fold(self, messages: list[Message]) -> None:
        core = Core("fresh", self._limits)
        for message in messages:
            entry = message.data
            if isinstance(entry, Member):
                core.handle(events.MemberStored(entry), 0.0)
            elif isinstance(entry, Control):
                core.handle(events.ControlStored(entry, message.seq), 0.0)
            else:
                record = Record(message.seq, message.subject, entry, message.stored_at)
                core.handle(events.EntryStored(record, 0.0), 0.0)
        core.handle(events.Recovered(), 0.0)
        unfinished = {t for t, s in self._ledger.stories.items() if s.epoch and not s.is_terminal}
        known = set(core.memory.tasks)
        self._ledger.must(known == unfinished, "a fresh fold knows what is unfinished", known ^ unfinished)
        for task_id in known & unfinished:
            live, fold = durable(core.memory.tasks[task_id].story), durable(self._ledger.stories[task_id])
            self._ledger.must(live == fold, "a fresh fold equals the ledger", f"{live} != {fold}")
        self._check_invariants(core)
        self.on_fresh(core, "fresh")

    def knows_all(self, shell: SimShell) -> None:
        """Untroubled for a while, an orchestrator knows every task that the ledger has not ended."""
        now = self._server.loop.now
        troubled_at = max(shell.troubled_at, self._server.troubled_at)
        is_well = shell.is_alive and not shell.is_frozen and shell.core.memory.is_recovered
        if not is_well or now - troubled_at < KNOWN_WITHIN_S or self._server.weather.is_bad:
            return
        for task_id, case in self._ledger.cases.items():
            if case.epoch and case.state != "closed" and now - case.last_at > KNOWN_WITHIN_S:
                is_known = task_id in shell.core.memory.tasks
                self._ledger.must(is_known, "every orchestrator knows what is unfinished", task_id)

    def is_empty(self, shell: SimShell) -> None:
        """When all is over, nothing is left in memory."""
        memory, effects = shell.core.memory, shell.effects
        self._ledger.must(not memory.tasks, "no task is left in memory", list(memory.tasks.values()))
        self._ledger.must(not effects.queued, "no message of the queue is left in hand", effects.queued)
        self._ledger.must(not effects.envelopes, "no payload is left in memory", list(effects.envelopes))
        busy = {a.agent_id: list(a.tasks) for a in memory.agents if a.tasks}
        self._ledger.must(not busy, "no slot is left taken", busy)
        counted = {b.name: list(b.holders) for b in memory.limits.buckets.values() if b.holders}
        self._ledger.must(not counted, "no slot of a limit is left taken", counted)
        waiting = self._server.tasks.all_of(SUBJECTS.all_tasks)
        self._ledger.must(not waiting, "the queue is empty", [m.subject for m in waiting])
