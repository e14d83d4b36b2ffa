"""What a task would have taken elsewhere: the recorded times of that agent at that kind nearest in time.

Pure. Each of them, brought to this task's sizes and load, is one possible outcome. Nearest in time, before
and after, follows drift better than any model could then; the recorded time of the task itself is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p

import numpy as np
from numpy.typing import NDArray

from outrider.router.beliefs import FLOOR_S, log_seconds
from outrider.router.counterfactual.decisions import Decision

FEWEST, MOST = 5, 20
"""Fewer observations judge nothing; more than the nearest so many are not asked."""
FEWEST_FOR_SLOPES = 30
RIDGE = 1.0
FARTHEST = 1.5
"""Bound of the correction for sizes and load, in log seconds."""

Values = NDArray[np.float64]
Indexes = NDArray[np.intp]
SIZES = 4


def sizes_of(decision: Decision, in_flight: int) -> list[float]:
    """What outcomes of one agent differ by: the task's sizes and how many attempts ran beside."""
    facts = decision.facts
    return [
        log1p(max(0, facts.prompt_chars)),
        log1p(max(0, facts.max_tokens)),
        log_seconds(facts.asked_s),
        log1p(max(0, in_flight)),
    ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The finished decisions of one agent at one kind, in the order of time."""

    number: Indexes
    at: Values
    sizes: Values
    log_finish: Values


@dataclass(frozen=True, slots=True)
class Possible:
    """Equally likely seconds, and the number of the decision that each was seen at."""

    seconds: Values
    seen_at: Indexes


class Outcomes:
    """Made of all finished decisions; `possible` answers for any agent and kind that was seen enough."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self._decisions = decisions
        numbers: dict[tuple[str, str], list[int]] = {}
        for number, decision in enumerate(decisions):
            if decision.finish_s is not None:
                numbers.setdefault((decision.kind, decision.agent_id), []).append(number)
        self._seen = {key: self._seen_at(found) for key, found in numbers.items()}
        kinds = dict.fromkeys(kind for kind, _ in self._seen)
        self._slopes = {kind: self._fit(kind) for kind in kinds}

    def possible(self, number: int, agent_id: str) -> Possible | None:
        """What decision `number` could have taken on this agent; None when too little was seen of it."""
        decision = self._decisions[number]
        seen = self._seen.get((decision.kind, agent_id))
        if seen is None or len(seen.number) < FEWEST + 1:
            return None
        near = _nearest(seen, decision.at, number)
        here = np.array(sizes_of(decision, decision.load.get(agent_id, 0)))
        moved = np.clip((here - seen.sizes[near]) @ self._slopes[decision.kind], -FARTHEST, FARTHEST)
        seconds = np.maximum(np.exp(seen.log_finish[near] + moved) - FLOOR_S, 0.0)
        return Possible(seconds, seen.number[near])

    def _seen_at(self, numbers: Sequence[int]) -> _Seen:
        found = [self._decisions[number] for number in numbers]
        return _Seen(
            np.array(numbers, np.intp),
            np.array([decision.at for decision in found]),
            np.array([sizes_of(decision, decision.in_flight) for decision in found]),
            np.array([log_seconds(decision.finish_s or 0.0) for decision in found]),
        )

    def _fit(self, kind: str) -> Values:
        """By how much log seconds grow with each size, within agents; zero while little was seen."""
        groups = [seen for (its_kind, _), seen in self._seen.items() if its_kind == kind]
        if sum(len(seen.number) for seen in groups) < FEWEST_FOR_SLOPES:
            return np.zeros(SIZES)
        x = np.concatenate([seen.sizes - seen.sizes.mean(axis=0) for seen in groups])
        y = np.concatenate([seen.log_finish - seen.log_finish.mean() for seen in groups])
        slopes: Values = np.linalg.solve(x.T @ x + RIDGE * np.eye(SIZES), x.T @ y)
        return slopes


def _nearest(seen: _Seen, at: float, but: int) -> Indexes:
    """Where the observations nearest in time stand, without the decision itself."""
    middle = int(np.searchsorted(seen.at, at))
    around = np.arange(max(0, middle - MOST - 1), min(len(seen.at), middle + MOST + 1))
    around = around[seen.number[around] != but]
    order = np.argsort(np.abs(seen.at[around] - at), kind="stable")[:MOST]
    nearest: Indexes = around[order]
    return nearest
