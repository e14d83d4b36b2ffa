"""How far placement can go on measured calls: the product's decision, told more than any router could know.

`python benchmarks/router_limits.py --data DIR [--fleets N] [--load L] [--scenario known|base] [--json]`.
The bench is R of `outrider router eval` (docs/router.md), arrivals conv; ratios are of mean and p99 sojourn
to peak-EWMA.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np

from outrider.router.beliefs import DRIFT_VARIANCE, LEAST_PAIR_DOUBT, AgentStats, PairStats, seconds_of
from outrider.router.config import RouterSettings
from outrider.router.evaluation.hedging import simulation_of
from outrider.router.evaluation.history import Known
from outrider.router.evaluation.measured_fleets import MeasuredFleets
from outrider.router.evaluation.measured_world import HISTORY_SHARE, split_prompts
from outrider.router.evaluation.product import Outrider
from outrider.router.evaluation.records import Records, read_records
from outrider.router.evaluation.rows import geometric
from outrider.router.evaluation.run import make_policy
from outrider.router.evaluation.simulation import Policy
from outrider.router.evaluation.world import SimTask, World
from outrider.router.statistics import Attempt

SEED = 1
MeanSeconds = Mapping[tuple[str, str], float]
"""By agent and kind."""


class ToldOfAll(Outrider):
    """Whenever a task ends it also learns how long every other agent would have taken."""

    def __init__(self, known: Known, world: World) -> None:
        super().__init__(known, RouterSettings(), world.agents)
        self._world = world
        self._number = {task.task_id: number for number, task in enumerate(world.tasks)}

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        super().ended(now, task, agent, service_s, succeeded)
        at = self._known.begins_at + now
        for other, name in enumerate(self._names):
            if other != agent:
                seconds = self._world.serve(self._number[task.task_id], other, 1, 0, now).seconds
                base = self.statistics.base(name, task.kind, at)
                p50_s = None if base is None else seconds_of(base)
                seen = Attempt("", name, task.kind, task.facts, 1, 0, p50_s, 1, at - seconds, None, base)
                self.statistics.succeeded(seen, seconds, at)


class KnowsMeans(Outrider):
    """Is given the mean seconds of each agent at each kind, and learns nothing more."""

    def __init__(self, known: Known, world: World, means: MeanSeconds) -> None:
        super().__init__(known, RouterSettings(explore_rate=0.0), world.agents)
        statistics = self.statistics
        statistics.agents.clear()
        statistics.pairs.clear()
        for agent in world.agents:
            # A mean is what counts in a decision: nothing is to be added for scatter.
            statistics.agents[agent.name] = AgentStats(
                count=100, drift_sure=DRIFT_VARIANCE, skew=1.0, error=0.3
            )
        for kind in {task.kind for task in world.tasks}:
            statistics.kinds[kind] = replace(statistics.kind(kind), mean=0.0)
        for (name, kind), mean_s in means.items():
            taste = log(mean_s)
            statistics.pairs[f"{name} {kind}"] = PairStats(30, taste, taste=taste, doubt=LEAST_PAIR_DOUBT)

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        self.statistics.forgotten(task.task_id)


def means_of(calls: Iterable[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    """Of (agent, kind, seconds)."""
    found: dict[tuple[str, str], list[float]] = {}
    for name, kind, seconds in calls:
        found.setdefault((name, kind), []).append(seconds)
    return {key: sum(all_s) / len(all_s) for key, all_s in found.items()}


def in_hindsight(world: World) -> dict[tuple[str, str], float]:
    """Of the very tasks that are served."""
    return means_of(
        (agent.name, task.kind, world.serve(number, which, 1, 0, 0.0).seconds)
        for number, task in enumerate(world.tasks)
        for which, agent in enumerate(world.agents)
    )


def of_other_prompts(records: Records, world: World, fleet: int) -> dict[tuple[str, str], float]:
    """In the served run, but of prompts that are not served: as if somebody had just measured all agents."""
    history = split_prompts(records, fleet % HISTORY_SHARE).history
    run = list(records.runs.values())[-1]
    return means_of(
        (agent.name, call.prompt[0], call.seconds)
        for agent in world.agents
        for call in run[agent.name]
        if call.prompt in history
    )


def policies(records: Records, world: World, known: Known, fleet: int) -> dict[str, Callable[[], Policy]]:
    seed = SEED * 1000 + fleet
    usual = {
        name: lambda name=name: make_policy(name, seed, world, known)
        for name in ("peak_ewma", "outrider", "outrider_hedged", "oracle")
    }
    return usual | {
        "no_exploring": lambda: Outrider(known, RouterSettings(explore_rate=0.0), world.agents),
        "told_of_all_agents": lambda: ToldOfAll(known, world),
        "means_of_other_prompts": lambda: KnowsMeans(known, world, of_other_prompts(records, world, fleet)),
        "means_in_hindsight": lambda: KnowsMeans(known, world, in_hindsight(world)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fleets", type=int, default=30)
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--scenario", default="known", choices=("known", "base"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    records = read_records(options.data)
    worlds = MeasuredFleets(records, SEED).worlds("conv", options.load, options.scenario)
    figures: dict[str, list[tuple[float, float]]] = {}
    for fleet in range(options.fleets):
        world, known = worlds(fleet)
        for name, make in policies(records, world, known, fleet).items():
            figures.setdefault(name, []).append(measured(world, make()))
    report(figures, options.json)


def measured(world: World, policy: Policy) -> tuple[float, float]:
    """Mean and p99 sojourn in seconds."""
    sojourn = [one.sojourn_s for one in simulation_of(world, policy).run()]
    return float(np.mean(sojourn)), float(np.percentile(sojourn, 99))


def report(figures: Mapping[str, list[tuple[float, float]]], as_json: bool) -> None:
    peak = np.array(figures["peak_ewma"])
    ratios = {name: np.array(found) / peak for name, found in figures.items()}
    mean, p99 = ({name: geometric(ratio[:, n]) for name, ratio in ratios.items()} for n in (0, 1))
    rows = [
        {
            "told": name,
            "mean_over_peak_ewma": round(mean[name], 4),
            "p99_over_peak_ewma": round(p99[name], 4),
            "gap_closed": round((1.0 - mean[name]) / (1.0 - mean["oracle"]), 4),
        }
        for name in sorted(mean, key=lambda name: -mean[name])
    ]
    if as_json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(f"{row['told']:24}", *(f"{row[name]:8.3f}" for name in list(row)[1:]))


if __name__ == "__main__":
    main()
