"""Agents by id and by kind, with their free slots, every look-up in constant time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from outrider.broker.states import AgentState
from outrider.orchestrator.instructions import StopAttempt

MEAN_WEIGHT = 0.2
MOST_STOPPING = 256
MOST_AGENTS = 20_000
MOST_KINDS = 1_000
"""Beyond that, the agents that are gone are forgotten, the longest known first."""


@dataclass(slots=True)
class AgentRecord:
    """What one orchestrator knows of one agent. Instants are on its own monotonic clock."""

    agent_id: str
    instance: str = ""
    kinds: tuple[str, ...] = ()
    slots: int = 0
    labels: tuple[str, ...] = ()
    host: str = ""
    state: AgentState = AgentState.OFFLINE
    heard_at: float = 0.0
    pinged_at: float = 0.0
    unanswered: int = 0
    tasks: dict[str, None] = field(default_factory=dict)
    """Tasks whose attempt is on this agent, or being assigned to it."""
    mean_s: dict[str, float] = field(default_factory=dict)
    failures_in_a_row: int = 0
    uncharged_in_a_row: int = 0
    cool_until: float = 0.0
    stopping: dict[int, StopAttempt] = field(default_factory=dict)
    """Epochs that it was told to stop, the newest few hundred, oldest first: it may not have heard."""
    is_probing: bool = False
    """Taken back after a cool-down with one task at a time, until one succeeds."""

    @property
    def in_flight(self) -> int:
        return len(self.tasks)

    @property
    def free(self) -> int:
        return (min(1, self.slots) if self.is_probing else self.slots) - len(self.tasks)

    def stop(self, stop: StopAttempt) -> None:
        """Keep in mind that an attempt has to stop; a beat from before may come late, so none ends that."""
        self.stopping[stop.epoch] = stop
        if len(self.stopping) > MOST_STOPPING:
            del self.stopping[next(iter(self.stopping))]

    def observe(self, kind: str, service_s: float) -> None:
        """Fold one success into the moving average of this kind."""
        old = self.mean_s.get(kind)
        self.mean_s[kind] = service_s if old is None else old + MEAN_WEIGHT * (service_s - old)


class AgentTable:
    """All agents, and those that can take an attempt of a kind now."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentRecord] = {}
        self._available: dict[str, dict[str, None]] = {}
        self._by_kind: dict[str, dict[str, None]] = {}
        self._full: dict[str, dict[str, None]] = {}
        self._unavailable: dict[str, dict[str, None]] = {}
        self.freed = 0
        """Grows whenever a slot gets free or an agent becomes available."""
        self.declared: set[str] = set()
        """Kinds that any agent ever declared."""
        self.on_vacated: Callable[[str], None] | None = None
        """Told of each task that leaves an agent, once anybody wants to know."""

    def __iter__(self) -> Iterator[AgentRecord]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    def get(self, agent_id: str) -> AgentRecord | None:
        return self._agents.get(agent_id)

    def enter(self, agent_id: str) -> AgentRecord:
        """The agent's record, made when it is new."""
        agent = self._agents.get(agent_id)
        if agent is None:
            if len(self._agents) >= MOST_AGENTS:
                self._forget_one()
            agent = self._agents[agent_id] = AgentRecord(agent_id)
        return agent

    def _forget_one(self) -> None:
        gone = next((a for a in self if a.state is AgentState.OFFLINE and not a.tasks), None)
        if gone is not None:
            self.declare(gone, ())
            del self._agents[gone.agent_id]

    def declare(self, agent: AgentRecord, kinds: tuple[str, ...]) -> None:
        """The agent can do exactly these kinds from now on."""
        for kind in agent.kinds:
            self._by_kind.get(kind, {}).pop(agent.agent_id, None)
            self._available.get(kind, {}).pop(agent.agent_id, None)
            self._full.get(kind, {}).pop(agent.agent_id, None)
            self._unavailable.get(kind, {}).pop(agent.agent_id, None)
        kinds = tuple(kind for kind in kinds if self._knows(kind))
        agent.kinds = kinds
        for kind in kinds:
            self._by_kind.setdefault(kind, {})[agent.agent_id] = None
        self.refresh(agent)

    def _knows(self, kind: str) -> bool:
        """Whether the kind is declared now; a fleet has so many kinds at most, each costs ten consumers."""
        if kind not in self.declared and len(self.declared) < MOST_KINDS:
            self.declared.add(kind)
        return kind in self.declared

    def refresh(self, agent: AgentRecord) -> None:
        """Bring the index in line after anything changed that decides availability."""
        is_online = agent.state is AgentState.ONLINE
        is_available = is_online and agent.free > 0
        is_full = is_online and agent.free <= 0 and not agent.is_probing
        for kind in agent.kinds:
            index = self._available.setdefault(kind, {})
            if not is_available:
                index.pop(agent.agent_id, None)
                if agent.state is not AgentState.OFFLINE:
                    self._unavailable.setdefault(kind, {})[agent.agent_id] = None
                else:
                    self._unavailable.get(kind, {}).pop(agent.agent_id, None)
            elif agent.agent_id not in index:
                index[agent.agent_id] = None
                self._unavailable.get(kind, {}).pop(agent.agent_id, None)
                self.freed += 1
            full = self._full.setdefault(kind, {})
            if is_full:
                full[agent.agent_id] = None
            else:
                full.pop(agent.agent_id, None)

    def occupy(self, agent_id: str, task_id: str) -> None:
        agent = self.enter(agent_id)
        agent.tasks[task_id] = None
        self.refresh(agent)

    def vacate(self, agent_id: str, task_id: str) -> None:
        agent = self._agents.get(agent_id)
        if agent is not None and agent.tasks.pop(task_id, 0) is None:
            self.freed += 1
            self.refresh(agent)
            if self.on_vacated is not None:
                self.on_vacated(task_id)

    def cool_down(self, agent: AgentRecord, until: float) -> None:
        """Give an agent that fails much nothing new until then; afterwards it is probed with one task."""
        agent.cool_until = until
        agent.uncharged_in_a_row = agent.failures_in_a_row = 0
        if agent.state is AgentState.ONLINE:
            agent.state = AgentState.COOLING_DOWN
        self.refresh(agent)

    def available(self, kind: str) -> Iterator[AgentRecord]:
        """Agents that are online, declare the kind and have a free slot, longest waiting first."""
        return (self._agents[name] for name in self._available.get(kind, ()))

    def full(self, kind: str) -> Iterator[AgentRecord]:
        """Agents that are online and declare the kind, but have no free slot."""
        return (self._agents[name] for name in self._full.get(kind, ()))

    def unavailable(self, kind: str) -> Iterator[AgentRecord]:
        """Agents that declared the kind, are not offline, and can take nothing now."""
        return (self._agents[name] for name in self._unavailable.get(kind, ()))

    def of_kind(self, kind: str) -> Iterator[AgentRecord]:
        return (self._agents[name] for name in self._by_kind.get(kind, ()))

    def free_slots(self, kind: str) -> int:
        return sum(agent.free for agent in self.available(kind))

    def has_online(self, kind: str) -> bool:
        return any(agent.state is AgentState.ONLINE for agent in self.of_kind(kind))
