"""Training rows from the ledger: what was known when an attempt was assigned, and how long it took.

Pure. The features of a row come from the statistics as they were before its assignment, so no row knows
anything of its own outcome or of any later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from outrider.router.beliefs import log_seconds
from outrider.router.features import agent_at_kind, pair_rows, task_values
from outrider.router.folding import Began, Finished, learn, read_entry
from outrider.router.statistics import Attempt, Statistics


@dataclass(frozen=True, slots=True)
class Row:
    """One finished attempt. Logarithms are of seconds."""

    attempt: Attempt
    features: NDArray[np.float32]
    base: float
    """The prior and the drift: what would have been predicted without the forest."""
    average: float
    """The plain moving average of the agent at the kind (of the kind, if it had none): the baseline."""
    log_service: float
    ended_at: float

    @property
    def target(self) -> float:
        """What the forest is to predict."""
        return self.log_service - self.base


@dataclass(frozen=True, slots=True)
class _Before:
    features: NDArray[np.float32]
    base: float
    average: float


class RowBuilder:
    """Folds a ledger and keeps, for each running attempt, the features of its assignment."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self._before: dict[str, _Before] = {}

    def fold(self, subject: str, data: bytes, seq: int, stored_at: float) -> Row | None:
        """Fold one stored entry; a row when it ended an attempt with success."""
        event = read_entry(self.statistics, subject, data, seq, stored_at)
        row = self.learn(event, stored_at)
        if len(self._before) > 2 * len(self.statistics.running) + 1000:
            running = self.statistics.running
            self._before = {key: value for key, value in self._before.items() if key in running}
        return row

    def learn(self, event: Began | Finished | None, at: float) -> Row | None:
        row = None
        if isinstance(event, Began):
            self._before[event.attempt.task_id] = self._look(event.attempt)
        elif isinstance(event, Finished):
            before = self._before.pop(event.attempt.task_id, None)
            if before is not None:
                log_service = log_seconds(event.service_s)
                row = Row(event.attempt, before.features, before.base, before.average, log_service, at)
        learn(self.statistics, event, at)
        return row

    def _look(self, attempt: Attempt) -> _Before:
        kind = self.statistics.kind(attempt.kind)
        agent = self.statistics.agent(attempt.agent_id)
        pair = self.statistics.pair(attempt.agent_id, attempt.kind)
        seen = agent_at_kind(kind, agent, pair, attempt.slots)
        features = pair_rows(
            [(task_values(attempt.facts, kind), attempt.facts.asked_s)],
            [seen],
            np.array([attempt.slots], np.float32),
            np.array([attempt.in_flight], np.float32),
        )[0]
        average = pair.mean if pair.count else kind.mean
        return _Before(features, seen.prior + agent.drift_now(attempt.at), average)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as arrays, in the order of the ledger."""

    features: NDArray[np.float32]
    base: NDArray[np.float64]
    average: NDArray[np.float64]
    log_service: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.base)

    @property
    def target(self) -> NDArray[np.float64]:
        return self.log_service - self.base

    def part(self, start: int, end: int) -> Table:
        return Table(*(getattr(self, name)[start:end] for name in self.__slots__))

    def joined(self, other: Table) -> Table:
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return Table(*(np.concatenate(pair) for pair in pairs))


def table_of(rows: Sequence[Row]) -> Table:
    return Table(
        np.array([row.features for row in rows], np.float32),
        np.array([row.base for row in rows]),
        np.array([row.average for row in rows]),
        np.array([row.log_service for row in rows]),
    )


def split_by_time(table: Table, newest_share: float = 0.2) -> tuple[Table, Table]:
    """The older part to train on and the newest to judge by."""
    cut = len(table) - max(1, int(len(table) * newest_share))
    return table.part(0, cut), table.part(cut, len(table))
