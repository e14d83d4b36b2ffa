"""What is believed of a kind, of an agent, and of an agent at a kind; each belief with its doubt.

Pure. Knows neither attempts nor which kinds and agents there are. Means are of natural logarithms of seconds,
doubts are variances of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, log, log1p, sqrt

from outrider.broker.facts import TaskFacts
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
AGENT_WIDENS = 0.06
WIDEST_STEP = 2.0
NEW_KIND_DOUBT, TYPICAL_DOUBT, NEW_PAIR_DOUBT = 9.0, 1.0, 0.1
"""Variance of log seconds of what nobody has seen yet: a kind, a kind that ships, an agent at a kind."""
LEAST_KIND_DOUBT, LEAST_PAIR_DOUBT = 0.004, 0.008
"""So much is always in doubt: what is known for long still follows slow changes."""
TASTE_HALF_LIFE_S = 40 * 86_400.0
"""Tastes change as agents are changed: what was certain of one is worth half after so long unseen."""
LEAST_SCATTER = 0.01
FARTHEST = 3.0
"""An error counts as at most so many standard deviations."""
SETTLES = 0.05
"""Share of an agent's drift that each further success turns into its lasting pace."""
TYPICAL_COUNTS_AS = 2


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


def doubt_after(limit: float, sure: float, age_s: float, half_life_s: float) -> float:
    """A variance that was `sure` below its limit, after nobody confirmed the belief for `age_s`."""
    kept = 0.5 ** (max(0.0, age_s) / half_life_s)
    return float(limit - sure * kept * kept)


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

    def note_level(self, off: float, share: float) -> None:
        """All agents were off by so much, of which `share` is the kind's own."""
        self.mean += share * off
        self.doubt = max(LEAST_KIND_DOUBT, self.doubt * (1.0 - share))


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
    """Of the taste, at `seen_at`."""
    seen_at: float = 0.0

    def doubt_now(self, now: float) -> float:
        """Variance of the taste: how far it may be from what is believed."""
        return doubt_after(NEW_PAIR_DOUBT, NEW_PAIR_DOUBT - self.doubt, now - self.seen_at, TASTE_HALF_LIFE_S)

    def note_taste(self, off: float, doubt: float, share: float, at: float) -> None:
        """The agent was off by so much, of which `share` is its taste."""
        self.taste += share * off
        self.doubt = max(LEAST_PAIR_DOUBT, doubt * (1.0 - share))
        self.seen_at = at

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
        return doubt_after(DRIFT_VARIANCE, self.drift_sure, now - self.drift_at, DRIFT_HALF_LIFE_S)

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


def prior(kind: KindStats, agent: AgentStats, pair: PairStats) -> float:
    """The expected log service seconds of an agent at a kind before looking at the task and at its drift."""
    return kind.mean + agent.speed + pair.taste


def doubt_of(agent: AgentStats, pair: PairStats, now: float) -> float:
    """Variance of what is believed of an agent at a kind, beside that of the kind itself."""
    return agent.doubt_now(now) + pair.doubt_now(now)


def scatter_of(agent: AgentStats) -> float:
    """Variance of single attempts around what is believed."""
    return max(agent.error_spread() ** 2, LEAST_SCATTER)


def share_error(kind: KindStats, agent: AgentStats, pair: PairStats, off: float, at: float) -> None:
    """One error is shared by all who are in doubt, each as much as it is: kind, agent, and agent at kind.

    The rest is the scatter of single attempts. So an agent that is known well takes little of the blame for
    a new kind, and a newcomer most of what is odd about its first task.
    """
    agent_doubt, pair_doubt = agent.doubt_now(at), pair.doubt_now(at)
    total = kind.doubt + agent_doubt + pair_doubt + scatter_of(agent)
    limit = FARTHEST * sqrt(total)
    off = max(-limit, min(limit, off))
    agent.note_level(off, agent_doubt, agent_doubt / total, at)
    pair.note_taste(off, pair_doubt, pair_doubt / total, at)
    kind.note_level(off, kind.doubt / total)
