"""What the router has learned of agents and kinds: moving averages of log service seconds, and drift.

Pure: changed only by what the ledger says, in ledger order, so that all replicas agree. Memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import exp, log, log1p, sqrt
from typing import TypeVar

from outrider.broker.facts import TaskFacts
from outrider.broker.messages import LONGEST_TASK_S
from outrider.broker.quick import quickly_made
from outrider.router.failures import Failures, faded
from outrider.router.known_kinds import KNOWN_KINDS, UNKNOWN_KIND, Typical
from outrider.router.underway import mean_over_median

FLOOR_S = 0.001
"""Added before the logarithm: below a millisecond no difference matters."""
SLOWEST_MOVE = 0.1
"""Weight of the newest observation once there are ten."""
DRIFT_LIMIT = 1.5
DRIFT_HALF_LIFE_S = 300.0
DRIFT_VARIANCE = 0.16
"""How far agents usually are from what is known of them after a long time unseen, squared."""
LATE_FROM = 2.0
"""An attempt that ran for so many times its p50 is overdue."""
LATE_LIMIT = 2.0
MOST_OF_THE_TASK = 1.5
"""How far the forest may place one task from what is usual, as log seconds; more comes of other beliefs."""
AGENT_WIDENS, ALL_WIDEN = 0.06, 0.04
USUALLY_WIDER = 0.1
WIDEST_STEP = 2.0
NEW_KIND_DOUBT, TYPICAL_DOUBT, NEW_PAIR_DOUBT = 9.0, 1.0, 0.1
"""Variance of log seconds of what nobody has seen yet: a kind, a kind that ships, an agent at a kind."""
LEAST_KIND_DOUBT, LEAST_PAIR_DOUBT = 0.004, 0.008
"""So much is always in doubt: what is known for long still follows slow changes."""
FARTHEST = 3.0
"""An error counts as at most so many standard deviations."""
SETTLES = 0.05
"""Share of an agent's drift that each further success turns into its lasting pace."""
TYPICAL_COUNTS_AS = 2
MOST_PAIRS = 50_000
MOST_AGENTS = 20_000
MOST_KINDS = 5_000
MOST_IN_FLIGHT = 200_000

V = TypeVar("V")


def log_seconds(seconds: float) -> float:
    return log(max(0.0, seconds) + FLOOR_S)


def seconds_of(log_value: float) -> float:
    return max(0.0, exp(min(log_value, 20.0)) - FLOOR_S)


def moved(mean: float, count: int, value: float) -> float:
    """The mean of `count` values after one more: plain at first, exponential from ten on."""
    return mean + (value - mean) * max(1.0 / (count + 1), SLOWEST_MOVE)


def widened(value: float, was_over: bool, step: float) -> float:
    """A step up for a duration over its p90, a ninth of it down for one under: still if one in ten is."""
    return max(-WIDEST_STEP, min(WIDEST_STEP, value + step * (0.9 if was_over else -0.1)))


@dataclass(slots=True)
class KindStats:
    """One kind over all agents. Means are of natural logarithms; `spread` is the mean distance from them."""

    count: int = 0
    mean: float = 0.0
    """Log seconds of an agent of usual pace."""
    doubt: float = NEW_KIND_DOUBT
    spread: float = 0.5
    prompt: float = 0.0
    size: float = 0.0
    tokens: float = 0.0
    tokens_count: int = 0
    asked: float = 0.0
    asked_count: int = 0

    @classmethod
    def typical(cls, name: str) -> KindStats:
        known: Typical | None = KNOWN_KINDS.get(name)
        usual = known or UNKNOWN_KIND
        weight = TYPICAL_COUNTS_AS if known else 0
        return cls(
            count=weight,
            mean=log_seconds(usual.service_s),
            doubt=TYPICAL_DOUBT if known else NEW_KIND_DOUBT,
            spread=usual.spread,
            prompt=log1p(usual.prompt_chars),
            size=log1p(usual.prompt_chars + 40),
            tokens=log1p(usual.max_tokens),
            tokens_count=weight if usual.max_tokens else 0,
            asked=log_seconds(usual.asked_s) if usual.asked_s else 0.0,
            asked_count=weight if usual.asked_s else 0,
        )

    def learn(self, log_service: float, facts: TaskFacts) -> None:
        n = self.count
        if n:
            self.spread = moved(self.spread, n, abs(log_service - self.mean))
        self.prompt = moved(self.prompt, n, log1p(max(0, facts.prompt_chars)))
        self.size = moved(self.size, n, log1p(max(0, facts.payload_bytes)))
        if facts.max_tokens > 0:
            self.tokens = moved(self.tokens, self.tokens_count, log1p(facts.max_tokens))
            self.tokens_count += 1
        if facts.asked_s > 0:
            self.asked = moved(self.asked, self.asked_count, log_seconds(facts.asked_s))
            self.asked_count += 1
        self.count = n + 1


@dataclass(slots=True)
class PairStats:
    """One agent at one kind; `mean` is a plain average, `load` the mean log1p of how many ran beside."""

    count: int = 0
    mean: float = 0.0
    spread: float = 0.5
    load: float = 0.0
    taste: float = 0.0
    """How much longer it takes than its pace at other kinds says, in log seconds."""
    doubt: float = NEW_PAIR_DOUBT

    def learn(self, log_service: float, in_flight: int) -> None:
        n = self.count
        if n:
            self.spread = moved(self.spread, n, abs(log_service - self.mean))
        self.mean = moved(self.mean, n, log_service)
        self.load = moved(self.load, n, log1p(max(0, in_flight)))
        self.count = n + 1


@dataclass(slots=True)
class AgentStats:
    """One agent over all kinds.

    `speed` is its lasting distance from the kinds' means, `drift` how far its newest attempts were from that
    (both logarithms), `wait_s` the mean time between assignment and end that was not service,
    seen while `wait_load` attempts ran beside.
    """

    count: int = 0
    speed: float = 0.0
    drift: float = 0.0
    drift_at: float = 0.0
    drift_sure: float = 0.0
    """How much less than DRIFT_VARIANCE the drift is still in doubt."""
    wait_s: float = 0.0
    wait_load: float = 0.0
    failures: Failures = field(default_factory=Failures)
    widen: float = 0.0
    """Added to the log p90: what was seen to lack until nine in ten stay under it."""
    errors: int = 0
    error: float = 0.4
    """Mean distance of log service seconds from what was predicted."""
    skew: float = mean_over_median(0.5)
    """By which factor the mean of its service seconds is above their median."""

    def error_spread(self) -> float:
        """Standard deviation of log service seconds around the prediction."""
        return 1.25 * self.error

    def drift_now(self, now: float) -> float:
        return faded(self.drift, now - self.drift_at, DRIFT_HALF_LIFE_S)

    def doubt_now(self, now: float) -> float:
        """Variance of the drift: how far it may be from what is believed."""
        kept = 0.5 ** (max(0.0, now - self.drift_at) / DRIFT_HALF_LIFE_S)
        return float(DRIFT_VARIANCE - self.drift_sure * kept * kept)

    def note_level(self, off: float, doubt: float, share: float, at: float) -> None:
        """It was off by so much, of which `share` is its own; a part settles as its lasting pace."""
        drift = self.drift_now(at) + share * off
        settled = drift * max(1.0 / (self.count + 1), SETTLES)
        self.speed += settled
        self.drift = max(-DRIFT_LIMIT, min(DRIFT_LIMIT, drift - settled))
        self.drift_sure = DRIFT_VARIANCE - doubt * (1.0 - share)
        self.drift_at = at

    def note_error(self, log_ratio: float) -> None:
        self.error += (min(3.0, abs(log_ratio)) - self.error) * max(1.0 / (self.errors + 5), 0.05)
        self.skew = mean_over_median(self.error_spread())
        self.errors += 1

    def note_p90(self, was_over: bool) -> None:
        self.widen = widened(self.widen, was_over, AGENT_WIDENS)

    def note_wait(self, wait_s: float, in_flight: int) -> None:
        self.wait_s = moved(self.wait_s, self.count, max(0.0, wait_s))
        self.wait_load = moved(self.wait_load, self.count, max(0, in_flight))


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

    def succeeded(self, attempt: Attempt, service_s: float, at: float) -> None:
        service_s = min(max(0.0, service_s), LONGEST_TASK_S)
        log_service = log_seconds(service_s)
        kind = _keep(self.kinds, attempt.kind, self.kind(attempt.kind), MOST_KINDS)
        agent = _keep(self.agents, attempt.agent_id, self.agent(attempt.agent_id), MOST_AGENTS)
        key = f"{attempt.agent_id} {attempt.kind}"
        pair = _keep(self.pairs, key, self.pair(attempt.agent_id, attempt.kind), MOST_PAIRS)
        _learn_level(kind, agent, pair, attempt, log_service, at)
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


def _learn_level(
    kind: KindStats, agent: AgentStats, pair: PairStats, attempt: Attempt, log_service: float, at: float
) -> None:
    """One error is shared by all who are in doubt, each as much as it is: kind, agent, and agent at kind.

    The rest is the scatter of single attempts. So an agent that is known well takes little of the blame for
    a new kind, and a newcomer most of what is odd about its first task.
    """
    off = log_service - prior(kind, agent, pair) - agent.drift_now(at)
    if attempt.p50_s is not None and attempt.base is not None:
        # What the forest said of the task itself is neither's doing.
        said = log_seconds(attempt.p50_s) - attempt.base
        off -= max(-MOST_OF_THE_TASK, min(MOST_OF_THE_TASK, said))
    doubt = agent.doubt_now(at)
    total = kind.doubt + doubt + pair.doubt + max(agent.error_spread() ** 2, 0.01)
    limit = FARTHEST * sqrt(total)
    off = max(-limit, min(limit, off))
    agent.note_level(off, doubt, doubt / total, at)
    pair.taste += off * pair.doubt / total
    pair.doubt = max(LEAST_PAIR_DOUBT, pair.doubt * (1.0 - pair.doubt / total))
    kind.mean += off * kind.doubt / total
    kind.doubt = max(LEAST_KIND_DOUBT, kind.doubt * (1.0 - kind.doubt / total))


def prior(kind: KindStats, agent: AgentStats, pair: PairStats) -> float:
    """The expected log service seconds of an agent at a kind before looking at the task and at its drift."""
    return kind.mean + agent.speed + pair.taste
