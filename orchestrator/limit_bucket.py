"""One counted thing: a kind, a key, or a key within a kind, with the attempts that count against its limit.

Pure. Slots are a set of task ids, each there because it occupies an agent, so none can be counted twice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from math import inf

from outrider.broker.limits import Limit
from outrider.orchestrator.spending import Window

MINUTE_S = 60.0
LEAST_PARKED, MOST_PARKED = 16, 256
PARKED_FOR_S = 2.0
"""As many tasks wait in memory as can start within this time; more wait in the queue."""
LEAST_RETURN_S = 0.1
MEAN_WEIGHT = 0.2
PROBE_FOR_S = 60.0
LET_OTHERS_S = 0.25
"""How long room must have stood open before anybody but its keeper takes it: some times the ledger's way."""

Place = tuple[int, float, str]
"""Priority, since when it is ready, and the task's id."""

BucketName = tuple[str, str, str]
"""Kind and key as the limit was set, and the task's own key where the limit is for each key."""


@dataclass(slots=True)
class Holder:
    """A task that occupies an agent, with the tokens that count for it."""

    tokens: float
    started_at: float | None = None
    """When the ledger had its attempt; None while that is being written."""
    is_in_starts: bool = False
    is_in_tokens: bool = False
    """Whether the window in force has counted it: what it has not, it must not take back."""


@dataclass(slots=True)
class Bucket:
    """Who holds a slot, who starts, who waits here, and what the last period and minute have seen."""

    name: BucketName
    limit: Limit
    holders: dict[str, Holder] = field(default_factory=dict)
    picks: dict[str, float] = field(default_factory=dict)
    """Tokens of the tasks picked for the routing round that is being made or asked about."""
    unbegun: dict[str, float] = field(default_factory=dict)
    """Tokens of the holders whose attempt is being written."""
    starts: Window | None = None
    tokens: Window | None = None
    parked: list[Place] = field(default_factory=list)
    """Tasks that wait for room, best first."""
    woken: int = 0
    """How many of them found room so far; some by their age."""
    held_until: float = -inf
    is_probing: bool = False
    """A provider said no: one attempt at a time until one succeeds."""
    open_since: float | None = -inf
    """Since when there has been room; None: there is none."""
    mean_s: float = 0.0
    """Moving average of how long a slot is held; 0: none was left yet."""
    next_return: float = -inf

    def obey(self, limit: Limit) -> None:
        """Go by this limit from now on; what was counted stays as far as it fits."""
        if limit.rate is None:
            self.starts = None
        elif self.starts is None or self.starts.period_s != limit.per_s:
            self.starts = Window(limit.per_s)
            for holder in self.holders.values():
                holder.is_in_starts = False
        if limit.tokens_per_minute is None:
            self.tokens = None
        elif self.tokens is None:
            self.tokens = Window(MINUTE_S)
            for holder in self.holders.values():
                holder.is_in_tokens = False
        self.limit = limit

    # ---- room

    @property
    def in_flight(self) -> int:
        return len(self.holders) + len(self.picks)

    @property
    def starting(self) -> int:
        """How many are granted and not in the windows yet."""
        return len(self.picks) + len(self.unbegun)

    def why_full(self, now: float, tokens: float) -> str | None:
        """Why one more attempt of so many tokens may not start now, or None when it may."""
        limit = self.limit
        if now < self.held_until:
            return "its provider asked to wait"
        if self.is_probing and self.in_flight:
            return "its provider refused and is asked with one task"
        if limit.concurrency is not None and self.in_flight >= limit.concurrency:
            return f"{limit.concurrency} at once"
        if self._is_rate_spent(now):
            return f"{limit.rate} starts in {limit.per_s:g} s"
        if self.tokens is not None and limit.tokens_per_minute is not None:
            spent = self.tokens.spent(now) + sum(self.picks.values()) + sum(self.unbegun.values())
            # What is larger than the whole budget runs when nothing else does, rather than never.
            if spent > 0.5 and spent + tokens > limit.tokens_per_minute:
                return f"{limit.tokens_per_minute} tokens in a minute"
        return None

    def _is_rate_spent(self, now: float) -> bool:
        if self.starts is None or self.limit.rate is None:
            return False
        return self.starts.spent(now) + self.starting >= self.limit.rate

    def refusal(self, now: float, tokens: float, *, is_keeper: bool) -> str | None:
        """`why_full`, and whoever is not the keeper of this bucket leaves new room to it for a moment."""
        why = self.why_full(now, tokens)
        if why is not None:
            self.open_since = None
            return why
        if self.open_since is None:
            self.open_since = now
        if not is_keeper and now - self.open_since < LET_OTHERS_S:
            return "another orchestrator comes first"
        return None

    def room(self, now: float) -> int:
        """How many more may start now, as far as can be told without their tokens."""
        if self.why_full(now, 1.0) is not None:
            return 0
        if self.is_probing:
            return 1
        room = MOST_PARKED
        if self.limit.concurrency is not None:
            room = min(room, self.limit.concurrency - self.in_flight)
        if self.starts is not None and self.limit.rate is not None:
            room = min(room, int(self.limit.rate - self.starts.spent(now)) - self.starting)
        return max(0, room)

    # ---- slots

    def hold(self, task_id: str, tokens: float, *, has_begun: bool) -> None:
        """The task occupies an agent; one that does already goes on doing so."""
        self.picks.pop(task_id, None)
        if task_id not in self.holders:
            self.holders[task_id] = Holder(tokens)
            if not has_begun:
                self.unbegun[task_id] = tokens

    def started(self, task_id: str, at: float) -> None:
        """Its attempt is in the ledger."""
        holder = self.holders.get(task_id)
        if holder is None or task_id not in self.unbegun:
            return
        holder.started_at = at
        del self.unbegun[task_id]
        if self.starts is not None:
            self.starts.spend(at, 1.0)
            holder.is_in_starts = True
        if self.tokens is not None:
            self.tokens.spend(at, holder.tokens)
            holder.is_in_tokens = True

    def leave(self, task_id: str, now: float) -> None:
        """The task occupies no agent any more."""
        holder = self.holders.pop(task_id, None)
        self.unbegun.pop(task_id, None)
        if holder is None:
            return
        if holder.started_at is not None:
            held_s = max(1e-3, now - holder.started_at)
            self.mean_s = held_s if not self.mean_s else self.mean_s + MEAN_WEIGHT * (held_s - self.mean_s)
        if self.open_since is None and self.why_full(now, 0.0) is None:
            self.open_since = now

    def settle(self, task_id: str, tokens: float) -> None:
        """The attempt used so many tokens, whatever was predicted."""
        holder = self.holders.get(task_id)
        if holder is None or holder.started_at is None:
            return
        if self.tokens is not None and holder.is_in_tokens:
            self.tokens.correct(holder.started_at, tokens - holder.tokens)
        holder.tokens = tokens

    def never_began(self, task_id: str) -> None:
        """The agent refused the attempt: nothing was spent."""
        holder = self.holders.get(task_id)
        if holder is None or holder.started_at is None:
            return
        if self.starts is not None and holder.is_in_starts:
            self.starts.correct(holder.started_at, -1.0)
        self.settle(task_id, 0.0)

    # ---- waiting

    def pace(self) -> float:
        """Attempts a second that may start in the long run; 0 where that is not known."""
        paces = []
        if self.limit.rate is not None:
            paces.append(self.limit.rate / self.limit.per_s)
        if self.limit.concurrency is not None and self.mean_s:
            paces.append(self.limit.concurrency / self.mean_s)
        return min(paces) if paces else 0.0

    def most_parked(self) -> int:
        return int(min(MOST_PARKED, max(LEAST_PARKED, PARKED_FOR_S * self.pace())))

    def park(self, place: Place) -> None:
        if place not in self.parked:
            insort(self.parked, place)

    def has_parked(self, priority: int) -> bool:
        """Whether any of this priority waits here: its first has a place of its own."""
        at = bisect_left(self.parked, (priority, -inf, ""))
        return at < len(self.parked) and self.parked[at][0] == priority

    def is_only_one(self, at: int) -> bool:
        """Whether no other of its priority waits here than the one at this index."""
        beside = self.parked[max(0, at - 1) : at] + self.parked[at + 1 : at + 2]
        return all(place[0] != self.parked[at][0] for place in beside)

    @property
    def opens_with_time(self) -> bool:
        """Whether room comes by itself, and not only with the end of an attempt."""
        return self.starts is not None or self.tokens is not None or self.is_probing

    def returns_after(self, now: float, unknown_s: float, cap_s: float) -> float:
        """Seconds for which a task beyond those parked goes back to the queue: until about when it can start.

        Each call reckons with one more. Half of what the pace says, since a slot must not wait for a task.
        """
        if now < self.held_until:
            return min(cap_s, self.held_until - now)
        pace = self.pace()
        if pace <= 0:
            return unknown_s
        soonest = max(self.next_return, now + self.most_parked() / pace / 2)
        self.next_return = min(now + cap_s, soonest + 0.5 / pace)
        return max(LEAST_RETURN_S, self.next_return - now)

    def is_idle(self, now: float) -> bool:
        """Whether forgetting it would change nothing."""
        is_asked = self.is_probing and now < self.held_until + PROBE_FOR_S
        is_used = self.holders or self.picks or self.parked or is_asked or now < self.held_until
        windows = (self.starts, self.tokens)
        return not is_used and all(window is None or window.spent(now) < 0.5 for window in windows)
