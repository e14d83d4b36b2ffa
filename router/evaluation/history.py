"""What the product knows when a bench begins: the older run folded as a ledger, and a forest trained on it.

The same row builder, trainer and statistics that read a real ledger; nothing here is a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from outrider.broker.facts import TaskFacts
from outrider.router.artifact import ModelStore
from outrider.router.beliefs import seconds_of
from outrider.router.dataset import Row, RowBuilder, split_by_time, table_of
from outrider.router.evaluation.records import Call
from outrider.router.folding import Began, Finished
from outrider.router.predictor import Predictor
from outrider.router.statistics import Attempt, Statistics
from outrider.router.training import fit_best

MONTH_S = 30 * 86_400.0
FEWEST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Known:
    """What the router starts from, and the plain seconds that other policies start from."""

    predictor: Predictor
    statistics: Statistics
    by_agent: dict[str, list[float]]
    by_pair: dict[tuple[str, str], list[float]]
    begins_at: float
    """The bench's first instant on the clock of the history."""

    def fresh_statistics(self) -> Statistics:
        return copy.deepcopy(self.statistics)


def learn_history(
    calls: Sequence[tuple[str, Call]],
    facts: dict[tuple[str, int], TaskFacts],
    predictor: Predictor | None = None,
) -> Known:
    """Fold the calls as a ledger would hold them, each model's one after the other.

    Without a predictor one is trained on their rows, of the kind that errs less on the newest of them.
    """
    builder, rows = RowBuilder(), []
    at: dict[str, float] = {}
    by_agent: dict[str, list[float]] = {}
    by_pair: dict[tuple[str, str], list[float]] = {}
    for number, (model, call) in enumerate(calls):
        row = _fold(builder, f"h{number}", model, call, facts[call.prompt], at.get(model, 0.0))
        at[model] = at.get(model, 0.0) + call.seconds
        if row is not None:
            rows.append(row)
        by_agent.setdefault(model, []).append(call.seconds)
        by_pair.setdefault((model, call.prompt[0]), []).append(call.seconds)
    ended = max(at.values(), default=0.0)
    return Known(predictor or _predictor(rows), builder.statistics, by_agent, by_pair, ended + MONTH_S)


def _fold(
    builder: RowBuilder, task_id: str, model: str, call: Call, facts: TaskFacts, at: float
) -> Row | None:
    known, kind = builder.statistics, call.prompt[0]
    # What a router without a forest would have predicted then: so the scatter of each agent is known as well.
    base = known.base(model, kind, at)
    p50_s = None if base is None else seconds_of(base)
    attempt = Attempt(task_id, model, kind, facts, 1, 0, p50_s, 1, at, None, base)
    builder.learn(Began(attempt), at)
    known.forgotten(task_id)
    return builder.learn(Finished(attempt, call.seconds), at + call.seconds)


def _predictor(rows: Sequence[Row]) -> Predictor:
    if len(rows) < FEWEST_ROWS:
        return shipped_predictor()
    best, _ = fit_best(*split_by_time(table_of(rows)))
    return Predictor(best.forest, f"{best.kind}-trained-on-history")


def shipped_predictor() -> Predictor:
    """The model that ships with the product."""
    model = ModelStore(Path("no-state-folder")).load(None)
    return Predictor(model.forest, model.version)
