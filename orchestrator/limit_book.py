"""All limits and what counts against them: which buckets a task falls into, and who holds a slot of which.

Pure. Nothing here grows with the queue or the history: idle buckets are forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from outrider.broker.facts import TaskFacts
from outrider.broker.limits import ANY, Limit, LimitView
from outrider.orchestrator.limit_bucket import MEAN_WEIGHT, Bucket, BucketName, Holder

CHARS_A_TOKEN = 4
UNKNOWN_ANSWER_TOKENS = 256.0
"""Guess at an answer's length before the first one of its kind was seen."""
MOST_PLACES = 20_000
LEAST_TURN_S = 1.0
RETURNS_A_SECOND = 400.0
"""How many tasks that wait for limits are looked at again: each costs a delivery."""
NO_KEY = "!none"
PROVIDER = "!provider"
"""Stands in a bucket's name where a limit's kind would, so that it meets none of them."""


@dataclass(slots=True)
class LimitBook:
    """The limits in force, their buckets, and the tasks in them."""

    limits: dict[tuple[str, str], Limit] = field(default_factory=dict)
    buckets: dict[BucketName, Bucket] = field(default_factory=dict)
    holding: dict[str, tuple[Bucket, ...]] = field(default_factory=dict)
    """Buckets of every task that occupies an agent and that a limit concerns."""
    stirred: dict[BucketName, Bucket] = field(default_factory=dict)
    """Buckets that may have room for those who wait since the last look."""
    parked_held: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Messages of the queue that wait here for a limit, by kind and priority."""
    answer_tokens: dict[str, float] = field(default_factory=dict)
    """Moving average of the tokens that a kind's attempts put out."""
    checked_at: float = -inf
    seq: int = 0
    """Place in its stream of the last limit that was set."""
    _places: dict[tuple[str, str | None], tuple[Bucket, ...]] = field(default_factory=dict)
    _away: list[float] = field(default_factory=list)
    """When those will return that went back to the queue; at most as many as a consumer lets go."""
    _picking: dict[BucketName, Bucket] = field(default_factory=dict)
    _held_back: dict[tuple[str, str | None], Bucket] = field(default_factory=dict)

    @property
    def is_used(self) -> bool:
        """Whether there is any limit at all; while not, none of this costs anything."""
        return bool(self.limits or self._held_back)

    # ---- what is limited

    def set(self, limit: Limit) -> None:
        """Put a limit in force, or take one out that limits nothing. The caller recounts the slots."""
        name = (limit.kind, limit.key)
        if limit.is_nothing:
            self.limits.pop(name, None)
        else:
            self.limits[name] = limit
        self._places.clear()
        for bucket in self.buckets.values():
            if bucket.name[:2] == name:
                bucket.obey(limit)

    def recount(self, occupants: Iterable[tuple[str, str, str | None, TaskFacts]]) -> None:
        """Count the slots anew from those who occupy an agent; what is known of their start stays."""
        was = {bucket.name: (bucket.holders, bucket.unbegun) for bucket in self.buckets.values()}
        self.holding.clear()
        for bucket in self.buckets.values():
            bucket.holders, bucket.unbegun = {}, {}
        for task_id, kind, key, facts in occupants:
            buckets = self.places(kind, key)
            if buckets:
                self.holding[task_id] = buckets
            for bucket in buckets:
                holders, unbegun = was.get(bucket.name, ({}, {}))
                bucket.holders[task_id] = holders.get(task_id) or Holder(self.tokens_of(kind, facts))
                if task_id in unbegun:
                    bucket.unbegun[task_id] = unbegun[task_id]

    def places(self, kind: str, key: str | None) -> tuple[Bucket, ...]:
        """The buckets of a task, widest first."""
        place = (kind, key)
        found = self._places.get(place)
        if found is None:
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            found = self._places[place] = tuple(self._look_up(kind, key))
        return found

    def _look_up(self, kind: str, key: str | None) -> list[Bucket]:
        found = []
        for scope in (ANY, kind):
            if (scope, "") in self.limits:
                found.append(self._bucket(self.limits[scope, ""], ""))
            limit = self._limit_of_key(scope, key) if key is not None else None
            if limit is not None and key is not None:
                found.append(self._bucket(limit, key))
        if (kind, key) in self._held_back:
            found.append(self._held_back[kind, key])
        return found

    def _limit_of_key(self, kind: str, key: str) -> Limit | None:
        """The limit set for exactly this key, else that of the longest pattern that fits."""
        for length in range(len(key), -1, -1):
            names = ((kind, key),) if length == len(key) else ()
            for name in (*names, (kind, key[:length] + ANY)):
                if name in self.limits:
                    return self.limits[name]
        return None

    def _bucket(self, limit: Limit, key: str) -> Bucket:
        name = (limit.kind, limit.key, key)
        bucket = self.buckets.get(name)
        if bucket is None:
            bucket = self.buckets[name] = Bucket(name, limit)
            bucket.obey(limit)
        return bucket

    def of_kind(self, kind: str) -> list[Bucket]:
        """The buckets that every task of a kind is in, whatever its key."""
        names = ((ANY, "", ""), (kind, "", ""))
        return [self.buckets[name] for name in names if name in self.buckets]

    # ---- providers that said no

    def hold_back(self, kind: str, key: str | None, until: float) -> Bucket:
        """A provider refused a task of this kind and key: none of them before `until`, then one at first."""
        bucket = self._held_back.get((kind, key))
        if bucket is None:
            bucket = Bucket((PROVIDER, kind, key or NO_KEY), Limit(kind, key or ""))
            self._held_back[kind, key] = self.buckets[bucket.name] = bucket
            self._places.pop((kind, key), None)
        bucket.held_until = max(bucket.held_until, until)
        bucket.is_probing = True
        return bucket

    def answered(self, kind: str, key: str | None, task_id: str) -> None:
        """An attempt succeeded that began after its provider's refusal: it may be asked freely again."""
        bucket = self._held_back.get((kind, key))
        if bucket is not None and task_id in bucket.holders:
            bucket.is_probing = False
            self.stir(bucket)

    # ---- tokens

    def tokens_of(self, kind: str, facts: TaskFacts) -> float:
        """Tokens that a task is predicted to take, in and out."""
        answer = float(facts.max_tokens) or self.answer_tokens.get(kind, UNKNOWN_ANSWER_TOKENS)
        return facts.prompt_chars / CHARS_A_TOKEN + answer

    def learn(self, kind: str, tokens_out: int) -> None:
        """An attempt told how long its answer was."""
        old = self.answer_tokens.get(kind)
        new = float(tokens_out)
        self.answer_tokens[kind] = new if old is None else old + MEAN_WEIGHT * (new - old)

    # ---- slots

    def pick(self, task_id: str, buckets: tuple[Bucket, ...], tokens: float) -> None:
        """The task is in the routing round that is being made."""
        for bucket in buckets:
            bucket.picks[task_id] = tokens
            self._picking[bucket.name] = bucket

    def forget_picks(self) -> None:
        """The round is over: what was chosen occupies an agent by now."""
        for bucket in self._picking.values():
            bucket.picks.clear()
            self.stir(bucket)
        self._picking.clear()

    def hold(self, task_id: str, buckets: tuple[Bucket, ...], tokens: float, *, has_begun: bool) -> None:
        """The task occupies an agent from now on."""
        if buckets:
            self.holding[task_id] = buckets
        for bucket in buckets:
            bucket.hold(task_id, tokens, has_begun=has_begun)

    def leave(self, task_id: str, now: float) -> None:
        """The task occupies no agent any more."""
        for bucket in self.holding.pop(task_id, ()):
            bucket.leave(task_id, now)
            self.stir(bucket)

    # ---- waiting

    def stir(self, bucket: Bucket) -> None:
        """There may be room for those who wait."""
        if bucket.parked:
            self.stirred[bucket.name] = bucket

    def sent_away(self, until: float) -> None:
        """One that waits went back to the queue until then."""
        heappush(self._away, until)

    def turn_s(self, now: float) -> float:
        """The longest that one should stay away: the fewer there are, the sooner all can be seen again."""
        while self._away and self._away[0] <= now:
            heappop(self._away)
        return max(LEAST_TURN_S, len(self._away) / RETURNS_A_SECOND)

    def waiting(self) -> list[Bucket]:
        return [bucket for bucket in self.buckets.values() if bucket.parked]

    # ---- order

    def forget_idle(self, now: float) -> None:
        """Let go of buckets that count nothing."""
        idle = [place for place, bucket in self.buckets.items() if bucket.is_idle(now)]
        if not idle:
            return
        for place in idle:
            del self.buckets[place]
        self._held_back = {p: b for p, b in self._held_back.items() if not b.is_idle(now)}
        self._places.clear()

    def views(self, now: float) -> tuple[LimitView, ...]:
        """What is in force and how it stands, for people."""
        by_name: dict[tuple[str, str], list[Bucket]] = {name: [] for name in self.limits}
        for bucket in self.buckets.values():
            if bucket.name[:2] in by_name:
                by_name[bucket.name[:2]].append(bucket)
        views = [_view(self.limits[name], by_name[name], now) for name in sorted(self.limits)]
        held = [b for b in self._held_back.values() if now < b.held_until or b.is_probing]
        return (*views, *(_view(b.limit, [b], now) for b in held))


def _view(limit: Limit, buckets: list[Bucket], now: float) -> LimitView:
    held = [bucket.held_until - now for bucket in buckets if bucket.is_probing]
    return LimitView(
        limit.kind,
        limit.key,
        limit.concurrency,
        limit.rate,
        limit.per_s if limit.rate is not None else None,
        limit.tokens_per_minute,
        sum(bucket.in_flight for bucket in buckets),
        sum(len(bucket.parked) for bucket in buckets),
        round(sum(bucket.starts.spent(now) for bucket in buckets if bucket.starts)),
        round(sum(bucket.tokens.spent(now) for bucket in buckets if bucket.tokens)),
        len(buckets) if limit.key.endswith(ANY) else 0,
        round(max(0.0, *held), 3) if held else None,
    )
