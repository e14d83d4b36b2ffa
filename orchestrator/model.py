"""What an orchestrator holds in memory, owned by the core and by nobody else.

Pure. No payloads: memory grows with what is in flight, not with the queue or with what is finished.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from outrider.broker.facts import TaskFacts
from outrider.broker.flows import Waits
from outrider.broker.hedge_rule import HedgeBudget
from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import PassedOver, RouteTask
from outrider.ledger.entries import Assigned, Blocked, Closed, Entry
from outrider.ledger.fold import Story
from outrider.ledger.pauses import Pauses
from outrider.orchestrator.agent_table import AgentTable
from outrider.orchestrator.barriers import Barriers
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.instructions import Instruction
from outrider.orchestrator.letters import LetterIndex
from outrider.orchestrator.limit_book import LimitBook
from outrider.orchestrator.ready_queue import ReadyQueue
from outrider.orchestrator.timers import Timers
from outrider.orchestrator.transitions import TaskPhase, Trigger, next_phase


@dataclass(frozen=True, slots=True)
class Wish:
    """How a task shall end as soon as the write under way is settled."""

    type: str
    reason: str
    error_class: str = ""


@dataclass(slots=True)
class SecondRun:
    """The second of two live attempts: what the task's record itself holds of the first."""

    attempt: int
    agent_id: str
    begun: int
    """The epoch that its agent was given first."""
    accepted_at: float | None = None
    resend_at: float = 0.0
    lease_until: float = 0.0
    last_end: float = 0.0
    missing_in_beats: int = 0


@dataclass(slots=True)
class TaskRecord:
    """One task that is held, in flight or between attempts."""

    story: Story
    kind: str
    priority: int
    order: int
    facts: TaskFacts = TaskFacts()
    requires: tuple[str, ...] = ()
    max_attempts: int = 3
    timeout_s: float | None = None
    deadline: float | None = None
    phase: TaskPhase = TaskPhase.HELD
    ready_at: float = 0.0
    is_in_queue: bool = False
    """Its TASKS message is held here and not acked yet."""
    writing: Entry | None = None
    """The entry whose receipt is awaited; at most one a task."""
    write_number: int = 0
    """Of the newest write; a receipt for an older one tells nothing."""
    is_doubtful: bool = False
    """That write failed, or nobody knows: its story is being read."""
    wish: Wish | None = None
    accepted_at: float | None = None
    resend_at: float = 0.0
    lease_epoch: int = 0
    """The attempt that the lease is about, by the epoch at which it began."""
    lease_until: float = 0.0
    last_end: float = 0.0
    """When the attempt must have ended, progress or not."""
    retry_at: float = 0.0
    missing_in_beats: int = 0
    unfit: int = 0
    """How often in a row it was sent away, because nobody fitted or a limit was reached."""
    overtaken: int = 0
    """In how many rounds it was left waiting on purpose while one that came later was placed."""
    waits: Waits | None = None
    """What it waits for, as long as the ledger does not say."""
    limit_key: str | None = None
    parked_at: float | None = None
    """Since when it waits in memory for a limit."""
    may_hedge: bool = False
    """It may run twice, and shall when it takes unusually long."""
    hedge_at: float | None = None
    """When to think of a second agent."""
    second: SecondRun | None = None
    """The second attempt, while two live."""

    @property
    def task_id(self) -> str:
        return self.story.task_id

    def occupies(self, agents: AgentTable) -> bool:
        """Whether an agent that runs it holds a slot for it."""
        names = [self.story.agent_id, *([] if self.second is None else [self.second.agent_id])]
        found = [agents.get(name) for name in names]
        return any(agent is not None and self.task_id in agent.tasks for agent in found)

    def move(self, trigger: Trigger) -> None:
        """Raises InvalidTransition with the task's story."""
        self.phase = next_phase(self.task_id, self.phase, trigger, self.story)


@dataclass(slots=True)
class Round:
    """Tasks that the router is being asked about."""

    number: int
    tasks: dict[str, RouteTask]
    may_hold: bool = False
    freed: int = 0
    """What `AgentTable.freed` was when the question was put: a slot that gets free meanwhile is news."""
    passed_over: dict[str, PassedOver | None] = field(default_factory=dict)
    """By kind, who was no candidate when the question was put."""


@dataclass(slots=True)
class Aside:
    """Tasks that wait for a full agent, and what has to change before they are asked about again."""

    tasks: list[str] = field(default_factory=list)
    freed: int = 0
    until: float = 0.0
    is_backlog: bool = False
    """More tasks were ready than were asked about: those behind wait as well, a new one changes nothing."""


@dataclass(slots=True)
class Memory:
    """Everything the core decides from, and the instructions it has for the shell."""

    me: str
    thresholds: Thresholds
    now: float = 0.0
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    agents: AgentTable = field(default_factory=AgentTable)
    limits: LimitBook = field(default_factory=LimitBook)
    hedges: HedgeBudget = field(default_factory=HedgeBudget)
    ready: ReadyQueue = field(default_factory=ReadyQueue)
    timers: Timers = field(default_factory=Timers)
    barriers: Barriers = field(default_factory=Barriers)
    held: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Messages held of each (kind, priority), acked by none yet."""
    owners: dict[str, float] = field(default_factory=dict)
    """When each other orchestrator was last heard."""
    inherited: set[str] = field(default_factory=set)
    """Silent orchestrators whose tasks are taken over, until they are heard again."""
    ledger_used: float | None = None
    """How full LEDGER is, of 1; None until it was looked at."""
    is_ledger_full: bool = False
    """So full that nothing new may begin."""
    without_room: list[str] = field(default_factory=list)
    """Held tasks that wait for room in the ledger."""
    round: Round | None = None
    rounds: int = 0
    aside: dict[str, Aside] = field(default_factory=dict)
    """By kind: tasks left waiting for an agent that is full now."""
    arrivals: int = 0
    writes: int = 0
    is_recovered: bool = False
    is_linked: bool = True
    checked_at: float = 0.0
    """When the agents' health was last looked at."""
    ticked_at: float = 0.0
    pauses: Pauses = field(default_factory=Pauses)
    """Durable: a fold of control entries."""
    letters: LetterIndex = field(init=False)
    """Durable: a fold of `dead` and control entries."""
    out: list[Instruction] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ready = ReadyQueue(self.thresholds.ageing_s, self.thresholds.ageing_every)
        self.letters = LetterIndex(self.thresholds.most_dead_letters)

    def next_order(self) -> int:
        self.arrivals += 1
        return self.arrivals

    def slot_left(self, task_id: str) -> None:
        """A task left an agent; if two ran it, the other may still do."""
        task = self.tasks.get(task_id)
        if task is not None and task.second is not None and task.occupies(self.agents):
            return
        self.limits.leave(task_id, self.now)

    def is_mine(self, task: TaskRecord) -> bool:
        """Whether this orchestrator decides for the task: it owns it, or the owner fell silent."""
        return task.story.owner in ("", self.me) or task.story.owner in self.inherited


def strip(entry: Entry) -> Entry:
    """The entry without its payload, which memory never keeps."""
    if isinstance(entry, (Assigned, Blocked, Closed)) and entry.envelope is not None:
        return replace(entry, envelope=replace(entry.envelope, payload=None))
    if isinstance(entry, Succeeded):
        return entry.without_result()
    return entry
