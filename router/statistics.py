"""What the router has learned from the ledger: beliefs of kinds and agents, and which attempts run.

Pure: changed only by what the ledger says, in ledger order, so that all replicas agree. Memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import log
from typing import TypeVar

from outrider.broker.facts import TaskFacts
from outrider.broker.messages import LONGEST_TASK_S
from outrider.broker.quick import quickly_made
from outrider.router.beliefs import AgentStats, KindStats, PairStats, log_seconds, prior, share_error, widened

LATE_FROM = 2.0
"""An attempt that ran for so many times its p50 is overdue."""
LATE_LIMIT = 2.0
MOST_OF_THE_TASK = 1.5
"""How far the forest may place one task from what is usual, as log seconds; more comes of other beliefs."""
ALL_WIDEN = 0.04
USUALLY_WIDER = 0.1
MOST_PAIRS = 50_000
MOST_AGENTS = 20_000
MOST_KINDS = 5_000
MOST_IN_FLIGHT = 200_000

V = TypeVar("V")


@quickly_made
@dataclass(frozen=True, slots=True)
class Attempt:
    """What was known when an attempt was given to an agent. `p50_s` only if this router predicted it."""

    task_id: str
    agent_id: str
    kind: str
    facts: TaskFacts
    slots: int
    in_flight: int
    p50_s: float | None
    epoch: int
    at: float
    p90_s: float | None = None
    base: float | None = None
    """Log seconds that were expected of the agent at the kind then, before the task was looked at."""


def _keep(table: OrderedDict[str, V], key: str, value: V, most: int) -> V:
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
    return value


@dataclass(slots=True)
class Statistics:
    """All of it. Equal after equal ledgers; the least recently changed is forgotten first."""

    kinds: OrderedDict[str, KindStats] = field(default_factory=OrderedDict)
    agents: OrderedDict[str, AgentStats] = field(default_factory=OrderedDict)
    pairs: OrderedDict[str, PairStats] = field(default_factory=OrderedDict)
    running: OrderedDict[str, Attempt] = field(default_factory=OrderedDict)
    by_agent: dict[str, dict[str, Attempt]] = field(default_factory=dict)
    """The running attempts of each agent, by task."""
    ignored: int = 0
    widen: float = USUALLY_WIDER
    """Added to every log p90, learned from all agents."""

    def kind(self, name: str) -> KindStats:
        return self.kinds.get(name) or KindStats.typical(name)

    def agent(self, agent_id: str) -> AgentStats:
        return self.agents.get(agent_id) or AgentStats()

    def pair(self, agent_id: str, kind: str) -> PairStats:
        return self.pairs.get(f"{agent_id} {kind}") or PairStats()

    def drift_now(self, agent_id: str, agent: AgentStats, now: float) -> float:
        """The agent's drift, and what its overdue attempts say before they end: it is probably slow now."""
        drift = agent.drift_now(now)
        running = self.by_agent.get(agent_id)
        if not running:
            return drift
        spread = max(agent.error_spread(), 0.2)
        late = [
            log((now - one.at) / one.p50_s)
            for one in running.values()
            if one.p50_s and now - one.at > one.p50_s * LATE_FROM
        ]
        if not late:
            return drift
        doubt = len(late) * agent.doubt_now(now)
        seen = sum(late) / len(late) + spread / 2.0
        return drift + min(LATE_LIMIT, doubt / (doubt + spread * spread) * seen)

    def base(self, agent_id: str, kind: str, now: float) -> float | None:
        """Log seconds expected of an agent at a kind at this time, before a task is looked at.

        None while the agent was never seen at the kind: what was predicted of it then was a guess.
        """
        agent, pair = self.agent(agent_id), self.pair(agent_id, kind)
        if not pair.count:
            return None
        return prior(self.kind(kind), agent, pair) + self.drift_now(agent_id, agent, now)

    def began(self, attempt: Attempt) -> None:
        self.forgotten(attempt.task_id)
        self.running[attempt.task_id] = attempt
        self.by_agent.setdefault(attempt.agent_id, {})[attempt.task_id] = attempt
        if len(self.running) > MOST_IN_FLIGHT:
            self.forgotten(next(iter(self.running)))

    def forgotten(self, task_id: str) -> Attempt | None:
        """The attempt ended and teaches nothing."""
        attempt = self.running.pop(task_id, None)
        if attempt is not None:
            beside = self.by_agent[attempt.agent_id]
            del beside[task_id]
            if not beside:
                del self.by_agent[attempt.agent_id]
        return attempt

    def failed(self, attempt: Attempt, at: float) -> None:
        """The attempt ended without success. Its seconds are no service time: failing fast is not speed."""
        agent = _keep(self.agents, attempt.agent_id, self.agent(attempt.agent_id), MOST_AGENTS)
        agent.failures.failed(at, min(at - attempt.at, LONGEST_TASK_S))

    def excused(self, attempt: Attempt, at: float) -> None:
        """The same for a reason that need not be the agent's own."""
        agent = _keep(self.agents, attempt.agent_id, self.agent(attempt.agent_id), MOST_AGENTS)
        agent.failures.excused(at, min(at - attempt.at, LONGEST_TASK_S))

    def succeeded(self, attempt: Attempt, service_s: float, at: float) -> None:
        service_s = min(max(0.0, service_s), LONGEST_TASK_S)
        log_service = log_seconds(service_s)
        kind = _keep(self.kinds, attempt.kind, self.kind(attempt.kind), MOST_KINDS)
        agent = _keep(self.agents, attempt.agent_id, self.agent(attempt.agent_id), MOST_AGENTS)
        key = f"{attempt.agent_id} {attempt.kind}"
        pair = _keep(self.pairs, key, self.pair(attempt.agent_id, attempt.kind), MOST_PAIRS)
        off = log_service - prior(kind, agent, pair) - agent.drift_now(at) - _said_of_the_task(attempt)
        share_error(kind, agent, pair, off, at)
        was_guess = attempt.base is None
        if attempt.p50_s is not None and not was_guess:
            agent.note_error(log_service - log_seconds(attempt.p50_s))
        if attempt.p90_s is not None and not was_guess:
            was_over = service_s > attempt.p90_s
            agent.note_p90(was_over)
            self.widen = widened(self.widen, was_over, ALL_WIDEN)
        agent.note_wait(at - attempt.at - service_s, attempt.in_flight)
        agent.failures.succeeded(at)
        agent.count += 1
        pair.learn(log_service, attempt.in_flight)
        kind.learn(log_service, attempt.facts)


def _said_of_the_task(attempt: Attempt) -> float:
    """What the forest said of the task itself, in log seconds: neither kind nor agent is to blame for it."""
    if attempt.p50_s is None or attempt.base is None:
        return 0.0
    said = log_seconds(attempt.p50_s) - attempt.base
    return max(-MOST_OF_THE_TASK, min(MOST_OF_THE_TASK, said))
