"""Bench R's fleets by what is known of their models when the bench begins.

Pure but for the records given. Knows nothing of policies.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from outrider.router.evaluation.history import Known, learn_history
from outrider.router.evaluation.measured_world import (
    HISTORY_SHARE,
    draw_models,
    history_calls,
    measured_world,
    newest_models,
    split_prompts,
)
from outrider.router.evaluation.records import Records
from outrider.router.evaluation.tables import DataUnusable
from outrider.router.evaluation.world import World

FLEET_SIZE = (4, 16)

MakeWorld = Callable[[int], tuple[World, Known]]


class MeasuredFleets:
    """Worlds of bench R by number of fleet; what is learned of a history is learned once."""

    def __init__(self, records: Records, seed: int) -> None:
        self._records, self._seed = records, seed
        self._splits = [split_prompts(records, part) for part in range(HISTORY_SHARE)]
        self._histories = [history_calls(records, split) for split in self._splits]
        self._learned: dict[tuple[int, frozenset[str]], Known] = {}

    def check(self, scenario: str) -> None:
        """Raises DataUnusable when no fleet of this scenario can be made from the folder."""
        for part in range(HISTORY_SHARE):
            if len(self._models(part, scenario)) < 2:
                raise DataUnusable(f"scenario {scenario} needs two models that an older run has as well")

    def worlds(self, trace: str, load: float, scenario: str) -> MakeWorld:
        """A world for each number, and what was learned of its older runs."""

        def make(fleet: int) -> tuple[World, Known]:
            part, seed = fleet % HISTORY_SHARE, self._seed * 1000 + fleet
            chooser = random.Random(f"fleet {seed}")
            names = draw_models(self._models(part, scenario), chooser, FLEET_SIZE)
            requests = self._records.traces[trace]
            world = measured_world(self._records, self._splits[part], requests, load, names, chooser)
            unseen = frozenset(names) if scenario == "newcomers" else frozenset[str]()
            return world, self._known(part, unseen)

        return make

    def _models(self, part: int, scenario: str) -> list[str]:
        models = newest_models(self._records)
        if scenario != "known":
            return models
        seen = {model for model, _ in self._histories[part]}
        return [model for model in models if model in seen]

    def _known(self, part: int, unseen: frozenset[str]) -> Known:
        """The history without these models: neither statistics nor forest were shown a call of theirs."""
        key = (part, unseen)
        if key not in self._learned:
            calls = [found for found in self._histories[part] if found[0] not in unseen]
            self._learned[key] = learn_history(calls, self._records.facts)
        return self._learned[key]
