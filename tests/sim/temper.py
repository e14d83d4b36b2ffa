"""What a fake agent is: its temper, what it runs and what waits on its disk. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass, field

from outrider.broker.messages import Assignment
from outrider.broker.object_ref import ObjectRef
from outrider.broker.outcomes import Failed, Succeeded

POISON = "poison"
"""The payload of a task that kills whoever runs it."""


@dataclass(slots=True)
class Temper:
    """How an agent behaves; shares are of its attempts."""

    slots: int = 2
    fail: float = 0.15
    fail_for_good: float = 0.03
    throttle: float = 0.0
    """Its provider answers 429 and says when to come back."""
    hang: float = 0.04
    """The handler never returns and hears neither its timeout nor a cancel of the agent's own clock."""
    refuse: float = 0.03
    emit: float = 0.3
    hears_renew: bool = True
    """Otherwise it is an agent that was written before there was `renew`."""
    resend: float = 0.05
    """Sends an outcome a second time although it is recorded."""
    is_hostile: bool = False
    """Writes outcomes for what it was not given, without expecting anything."""
    may_lie: bool = False
    """It is hostile, or was before it calmed down."""
    shortest_s: float = 0.02
    longest_s: float = 4.0

    def calm_down(self) -> None:
        """What hangs already goes on hanging; nothing new does."""
        self.fail = self.fail_for_good = self.hang = self.refuse = self.resend = self.throttle = 0.0
        self.is_hostile = False
        self.longest_s = min(self.longest_s, 3.0)


@dataclass(slots=True)
class Finished:
    """An ended attempt with its ledger entry, on disk until the ledger has it."""

    entry: Succeeded | Failed
    expect: int
    body: bytes = b""
    """A large result, which lies beside its entry."""
    is_stored: bool = False
    """Whether this process put it into the object store."""

    @property
    def ref(self) -> ObjectRef | None:
        return self.entry.result_ref if isinstance(self.entry, Succeeded) else None


@dataclass(slots=True)
class Running:
    """An attempt that holds a slot."""

    assignment: Assignment
    started_at: float
    hangs: bool = False
    epoch: int = 0
    """The newest that its agent heard of."""
    expect: int = 0


@dataclass(slots=True)
class Profile:
    """What an agent declares of itself."""

    agent_id: str
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    temper: Temper = field(default_factory=Temper)
