"""The core against a ledger that says no, agents that die and a router that lies, in any order.

The machine plays shell, ledger and agents; after every step the invariants hold, in the end all is terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from outrider.broker.facts import TaskFacts
from outrider.broker.flows import OnFailure, Waits
from outrider.broker.messages import AttemptError, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import Choice, RouteReason
from outrider.broker.states import AgentState, ErrorClass
from outrider.broker.subjects import LedgerAddress, Subjects
from outrider.ledger.entries import Assigned, Blocked, Closed, Entry
from outrider.ledger.fold import Record, Story
from outrider.ledger.rules import TERMINAL_TYPES
from outrider.orchestrator import events
from outrider.orchestrator import instructions as do
from outrider.orchestrator.core import Core
from outrider.orchestrator.invariants import check_invariants

SUBJECTS = Subjects("t")
AGENTS = ("a", "b", "c")
KINDS = ("chat", "echo")


@dataclass
class World:
    """What is durable and what runs: the ledger, the queue and the agents."""

    entries: list[Record] = field(default_factory=list)
    of_task: dict[str, list[Record]] = field(default_factory=dict)
    queue: dict[str, events.TaskPulled] = field(default_factory=dict)
    running: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """(task, epoch) to (agent, attempt), as the agents know it."""

    def expect(self, task_id: str) -> int:
        return max((record.seq for record in self.of_task.get(task_id, ())), default=0)

    def story(self, task_id: str) -> Story:
        story = Story(task_id)
        for record in self.of_task.get(task_id, ()):
            role, writer = record.subject.split(".")[-2:]
            story.apply(record.seq, LedgerAddress(task_id, role, writer), record.entry)
        story.envelope = None
        return story

    def append(self, subject: str, entry: Entry, expect: int) -> int | None:
        """The sequence, or None when another entry came first."""
        if self.expect(entry.task_id) != expect:
            return None
        record = Record(len(self.entries) + 1, subject, entry)
        self.entries.append(record)
        self.of_task.setdefault(entry.task_id, []).append(record)
        return record.seq

    def state(self, task_id: str) -> str:
        """As a look into queue and ledger tells it."""
        story = self.story(task_id)
        return story.state.value if story.epoch else "queued" if task_id in self.queue else ""

    def terminal_entries(self, task_id: str) -> int:
        return sum(record.entry.type in TERMINAL_TYPES for record in self.of_task.get(task_id, ()))


class CoreMachine(RuleBasedStateMachine):
    """Random lives of tasks in one orchestrator that may crash and recover."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.now = 0.0
        self.crashes = 0
        self.pending: list[do.Instruction] = []
        self.submitted: list[str] = []
        self.waits: dict[str, Waits] = {}
        self.boot()

    def boot(self) -> None:
        self.core = Core(f"o{self.crashes}")
        self.pending = []
        for record in list(self.world.entries):
            self.feed(events.EntryStored(record, self.now))
        self.feed(events.Recovered())
        for task in list(self.world.queue.values()):
            self.feed(task)

    def feed(self, event: events.Event) -> None:
        self.pending += self.core.handle(event, self.now)

    @rule(name=st.sampled_from(AGENTS), slots=st.integers(1, 3), fresh=st.booleans())
    def join(self, name: str, slots: int, fresh: bool) -> None:
        known = self.core.memory.agents.get(name)
        instance = f"i{self.now}" if fresh or known is None else known.instance
        if known is not None and instance != known.instance:
            self.world.running = {k: v for k, v in self.world.running.items() if v[0] != name}
        self.feed(events.AgentJoined(name, instance, KINDS, slots, (), (), "host"))

    @rule(kind=st.sampled_from(KINDS), priority=st.integers(0, 9), attempts=st.integers(1, 3))
    def submit(self, kind: str, priority: int, attempts: int) -> None:
        task_id = f"t-{len(self.submitted)}"
        self.submitted.append(task_id)
        pulled = events.TaskPulled(task_id, kind, priority, TaskFacts(), (), attempts, None, None, self.now)
        self.world.queue[task_id] = pulled
        self.feed(pulled)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), on_failure=st.sampled_from(OnFailure), whole_group=st.booleans())
    def submit_child(self, data: st.DataObject, on_failure: OnFailure, whole_group: bool) -> None:
        """One that waits for some of those before, or for a group that they make up."""
        task_id = f"t-{len(self.submitted)}"
        after = data.draw(st.lists(st.sampled_from(self.submitted), min_size=1, max_size=3, unique=True))
        group = Waits((), on_failure, "t", len(self.submitted))
        waits = group if whole_group else Waits(tuple(after), on_failure)
        self.submitted.append(task_id)
        self.waits[task_id] = waits
        pulled = events.TaskPulled(task_id, "chat", 5, TaskFacts(), (), 2, None, None, self.now, waits)
        self.world.queue[task_id] = pulled
        self.feed(pulled)

    @precondition(lambda self: self.world.queue)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        self.feed(self.world.queue[data.draw(st.sampled_from(sorted(self.world.queue)))])

    @precondition(lambda self: self.pending)
    @rule(fate=st.sampled_from(("stored", "stored", "stored", "unknown", "lost")), lie=st.booleans())
    def carry_out(self, fate: str, lie: bool) -> None:
        """Do the oldest instruction, as NATS might: a write may be stored and its receipt lost."""
        instruction = self.pending.pop(0)
        match instruction:
            case do.Write():
                self.write(instruction, fate)
            case do.Route():
                self.route(instruction, lie)
            case do.Assign() if fate != "lost":
                self.assign(instruction)
            case do.AckTask():
                self.world.queue.pop(instruction.task_id, None)
            case do.ReadStory():
                self.feed(events.StoryRead(instruction.task_id, self.world.story(instruction.task_id)))
            case do.ReadParents():
                self.feed(events.ParentsRead(tuple((t, self.world.state(t)) for t in instruction.task_ids)))
            case do.GiveBack():
                if instruction.task_id in self.world.queue:
                    self.feed(self.world.queue[instruction.task_id])
            case do.StopAttempt():
                self.world.running.pop((instruction.task_id, instruction.epoch), None)
            case _:
                pass

    def write(self, i: do.Write, fate: str) -> None:
        if fate == "lost":
            self.feed(events.WriteFailed(i.task_id, i.number, False, "no confirmation"))
            return
        entry = i.entry
        if isinstance(entry, Assigned):
            self.may_start(entry)
        if i.expect == 0 and isinstance(entry, (Assigned, Blocked, Closed)):
            task = self.core.memory.tasks[i.task_id]
            envelope = TaskEnvelope(task.kind, "payload", i.task_id, max_attempts=task.max_attempts)
            entry = replace(entry, envelope=envelope)
        seq = self.world.append(SUBJECTS.ledger_orchestrator(i.task_id, self.core.memory.me), entry, i.expect)
        if fate == "unknown" or seq is None:
            self.feed(events.WriteFailed(i.task_id, i.number, seq is None, "refused or unknown"))
        else:
            self.feed(events.Written(i.task_id, i.number, seq))

    def may_start(self, entry: Assigned) -> None:
        """No task is assigned before all that it waits for has ended, as it wishes."""
        waits = self.waits.get(entry.task_id)
        if waits is None:
            return
        for parent in waits.ids():
            story = self.world.story(parent)
            assert story.is_terminal, f"{entry.task_id} starts before {parent} ended"
            is_good = waits.on_failure is OnFailure.RUN or story.state == "succeeded"
            assert is_good, f"{entry.task_id} starts although {parent} is {story.state}"

    def route(self, i: do.Route, lie: bool) -> None:
        if lie:
            bad = tuple(
                Choice(t.task_id, "nobody", 1.0, 2.0, 1.0, RouteReason.MODEL) for t in i.request.tasks[:1]
            )
            self.feed(events.Routed(i.round, bad, "liar"))
        else:
            self.feed(events.RouteFailed(i.round, RouteReason.FALLBACK_NO_ROUTER))

    def assign(self, i: do.Assign) -> None:
        self.world.running[i.task_id, i.epoch] = (i.agent_id, i.attempt)
        self.feed(events.AssignAnswered(i.task_id, i.epoch, True, ""))

    @precondition(lambda self: self.world.running)
    @rule(data=st.data(), outcome=st.sampled_from(("succeed", "fail", "fail_for_good", "refuse")))
    def finish(self, data: st.DataObject, outcome: str) -> None:
        """An agent writes what became of its attempt, however late it is."""
        task_id, epoch = data.draw(st.sampled_from(sorted(self.world.running)))
        agent_id, attempt = self.world.running.pop((task_id, epoch))
        if outcome == "refuse":
            self.feed(events.AssignAnswered(task_id, epoch, False, "full"))
            return
        entry: Entry = Succeeded(task_id, attempt, agent_id, epoch, result="r")
        if outcome != "succeed":
            error = AttemptError(ErrorClass.HANDLER, "no", retryable=outcome == "fail")
            entry = Failed(task_id, attempt, agent_id, epoch, error)
        if self.world.append(SUBJECTS.ledger_agent(task_id, agent_id), entry, epoch) is not None:
            self.feed(events.EntryStored(self.world.entries[-1], self.now))

    @rule(name=st.sampled_from(AGENTS), knows=st.booleans())
    def beat(self, name: str, knows: bool) -> None:
        agent = self.core.memory.agents.get(name)
        if agent is None:
            return
        running = frozenset(e for (_, e), (a, _) in self.world.running.items() if a == name and knows)
        self.feed(
            events.AgentBeat(
                name, agent.instance, AgentState.ONLINE, max(1, agent.slots), running, frozenset(), None, None
            )
        )

    @rule(name=st.sampled_from(AGENTS))
    def vanish(self, name: str) -> None:
        self.feed(events.AgentUnreachable(name))

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.feed(events.CancelRequested(data.draw(st.sampled_from(self.submitted)), "why not"))

    @rule(seconds=st.sampled_from((0.1, 1.0, 7.0, 30.0, 400.0)))
    def wait(self, seconds: float) -> None:
        for _ in range(3):
            self.now += min(seconds / 3, 1.5)
            self.feed(events.Ticked())
        self.now += seconds
        self.feed(events.Ticked())

    @rule()
    def crash(self) -> None:
        """kill -9: what was not stored is gone, agents keep running."""
        self.crashes += 1
        self.boot()

    @invariant()
    def holds(self) -> None:
        check_invariants(self.core.memory)
        for task_id in self.submitted:
            assert self.world.terminal_entries(task_id) <= 1

    def teardown(self) -> None:
        """Once the faults stop, every accepted task reaches exactly one terminal entry."""
        for name in AGENTS:
            self.feed(events.AgentJoined(name, "last", KINDS, 3, (), (), "host"))
        for _ in range(3000):
            if all(self.world.terminal_entries(task_id) for task_id in self.submitted):
                break
            self.step_calmly()
        for task_id in self.submitted:
            assert self.world.terminal_entries(task_id) == 1, self.world.story(task_id)
        check_invariants(self.core.memory)

    def step_calmly(self) -> None:
        while self.pending:
            self.carry_out("stored", lie=False)
        for task_id, epoch in sorted(self.world.running):
            agent_id, attempt = self.world.running.pop((task_id, epoch))
            entry = Succeeded(task_id, attempt, agent_id, epoch)
            if self.world.append(SUBJECTS.ledger_agent(task_id, agent_id), entry, epoch) is not None:
                self.feed(events.EntryStored(self.world.entries[-1], self.now))
        for name in AGENTS:
            self.beat(name, knows=True)
        self.now += 1.0
        self.feed(events.Ticked())


TestCore = CoreMachine.TestCase
TestCore.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
