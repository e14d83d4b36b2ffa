"""The evaluation from end to end: reads the folder, builds worlds, runs every policy, makes the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outrider.broker.errors import OutriderError
from outrider.router.config import RouterSettings
from outrider.router.evaluation import baselines, knowing
from outrider.router.evaluation.history import Known, learn_history
from outrider.router.evaluation.litellm_policies import litellm_policies
from outrider.router.evaluation.measured_world import (
    HISTORY_SHARE,
    history_calls,
    measured_world,
    split_prompts,
)
from outrider.router.evaluation.product import Outrider
from outrider.router.evaluation.records import TRACES, Records, read_records
from outrider.router.evaluation.rows import Run, rows_of, run_of
from outrider.router.evaluation.simulation import Policy, Simulation
from outrider.router.evaluation.stress_world import SCENARIOS, stress_world
from outrider.router.evaluation.world import World

POLICIES = (
    "random",
    "round_robin",
    "least_outstanding",
    "least_outstanding_per_slot",
    "power_of_two",
    "peak_ewma",
    "prequal",
    "litellm_latency",
    "litellm_least_busy",
    "table_drift",
    "outrider",
    "oracle",
)
LOADS = (0.5, 0.7, 0.85)
STRESS_LOAD = 0.6
FLEET_SIZE = (4, 16)


class UnknownPolicy(OutriderError):
    """No policy, bench or trace has this name."""

    code = "unknown_policy"


Tell = Callable[[str], None]
Make = Callable[[], Policy]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to evaluate."""

    fleets: int = 30
    seed: int = 1
    loads: Sequence[float] = LOADS
    arrivals: Sequence[str] = ("conv", "code")
    benches: Sequence[str] = ("R", "S")
    policies: Sequence[str] = POLICIES
    stress_tasks: int = 500
    """Tasks in each run of bench S; bench R serves each prompt once."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One bench under one load: a world for each fleet, and what the router knows there."""

    about: Mapping[str, Any]
    world: Callable[[int], tuple[World, Known]]


def evaluate(folder: Path, plan: Plan, tell: Tell = lambda _: None) -> dict[str, Any]:
    """All rows. Raises DataUnusable when the folder lacks what is needed, UnknownPolicy for a wrong name."""
    _check(plan)
    records = read_records(folder)
    skipped = [name for name in plan.policies if name.startswith("litellm") and not litellm_policies()]
    for name in skipped:
        tell(f"{name}: skipped, the package litellm is not installed")
    names = [name for name in plan.policies if name not in skipped]
    rows: list[dict[str, Any]] = []
    for setting in _settings(records, plan, tell):
        runs = _runs(setting, plan, names)
        rows += rows_of(runs, setting.about, plan.seed)
        tell(" ".join(f"{key} {value}" for key, value in setting.about.items()) + ": done")
    return {"rows": rows, "skipped": skipped, "fleets": plan.fleets, "seed": plan.seed}


def _check(plan: Plan) -> None:
    for asked, known in ((plan.policies, POLICIES), (plan.benches, ("R", "S")), (plan.arrivals, TRACES)):
        for name in asked:
            if name not in known:
                raise UnknownPolicy(f"{name!r} is not known", hint=f"use one of: {', '.join(known)}")


def _settings(records: Records, plan: Plan, tell: Tell) -> Iterator[Setting]:
    tell("learning the older run")
    splits = [split_prompts(records, part) for part in range(HISTORY_SHARE)]
    known: dict[int, Known] = {}

    def measured(trace: str, load: float) -> Callable[[int], tuple[World, Known]]:
        def world(fleet: int) -> tuple[World, Known]:
            part = fleet % HISTORY_SHARE
            if part not in known:
                known[part] = learn_history(history_calls(records, splits[part]), records.facts)
            seed = plan.seed * 1000 + fleet
            return measured_world(
                records, splits[part], records.traces[trace], load, seed, FLEET_SIZE
            ), known[part]

        return world

    for trace in plan.arrivals if "R" in plan.benches else ():
        if trace in records.traces:
            for load in plan.loads:
                about = {"bench": "R", "arrivals": trace, "load": load, "scenario": "base"}
                yield Setting(about, measured(trace, load))
    if "S" not in plan.benches:
        return
    if not records.replies:
        tell("bench S: skipped, there is no llmperf_leaderboard_2023 file")
        return
    for scenario in SCENARIOS:
        about = {"bench": "S", "arrivals": "conv", "load": STRESS_LOAD, "scenario": scenario}
        yield Setting(about, _stressed(records, scenario, plan))


def _stressed(records: Records, scenario: str, plan: Plan) -> Callable[[int], tuple[World, Known]]:
    def world(fleet: int) -> tuple[World, Known]:
        seed = plan.seed * 1000 + fleet
        return stress_world(records, scenario, STRESS_LOAD, seed, plan.stress_tasks)

    return world


def _runs(setting: Setting, plan: Plan, names: Sequence[str]) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for fleet in range(plan.fleets):
        world, known = setting.world(fleet)
        for name in names:
            policy = make_policy(name, plan.seed * 1000 + fleet, world, known)
            finished = Simulation(world, policy).run()
            runs[name].append(run_of(world, finished, getattr(policy, "decision_s", ())))
    return runs


def make_policy(name: str, seed: int, world: World, known: Known) -> Policy:
    agents = [agent.name for agent in world.agents]
    makers: dict[str, Make] = {
        "random": lambda: baselines.RandomChoice(seed),
        "round_robin": lambda: baselines.RoundRobin(seed),
        "least_outstanding": lambda: baselines.LeastOutstanding(seed),
        "least_outstanding_per_slot": lambda: baselines.LeastOutstandingPerSlot(seed),
        "power_of_two": lambda: baselines.PowerOfTwo(seed),
        "peak_ewma": lambda: baselines.PeakEwma(seed, agents, known.by_agent),
        "prequal": lambda: baselines.Prequal(seed, agents, known.by_agent),
        "table_drift": lambda: knowing.TableDrift(seed, agents, known.by_pair),
        "outrider": lambda: Outrider(known, RouterSettings(), world.agents),
        "oracle": lambda: knowing.Oracle(seed, world),
    }
    if name in makers:
        return makers[name]()
    policy: Policy = litellm_policies()[name](seed, agents)
    return policy
