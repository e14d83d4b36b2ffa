"""The evaluation from end to end: reads the folder, builds worlds, runs every policy, makes the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from outrider.broker.config import BadSettings
from outrider.broker.errors import MissingExtra
from outrider.router.config import RouterSettings
from outrider.router.evaluation import baselines, knowing
from outrider.router.evaluation.hedging import HedgedOutrider, simulation_of
from outrider.router.evaluation.history import Known
from outrider.router.evaluation.litellm_policies import litellm_policies
from outrider.router.evaluation.measured_fleets import MakeWorld, MeasuredFleets
from outrider.router.evaluation.names import BENCHES, LOADS, POLICIES, TRACES, USUAL_SCENARIOS
from outrider.router.evaluation.product import Outrider
from outrider.router.evaluation.records import Records, read_records
from outrider.router.evaluation.rows import Run, rows_of, run_of
from outrider.router.evaluation.simulation import Policy
from outrider.router.evaluation.stress_world import TRACE, endpoints, stress_world
from outrider.router.evaluation.tables import DataUnusable, Tell
from outrider.router.evaluation.world import World

STRESS_LOAD = 0.6


class UnknownPolicy(BadSettings):
    """No policy, bench, trace or scenario has this name."""

    code = "unknown_policy"


T = TypeVar("T")
Make = Callable[[], Policy]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to evaluate."""

    fleets: int = 30
    seed: int = 1
    loads: Sequence[float] = LOADS
    arrivals: Sequence[str] = TRACES
    benches: Sequence[str] = tuple(BENCHES)
    policies: Sequence[str] = POLICIES
    scenarios: Sequence[str] | None = None
    """Of either bench; None: bench R's `base` and all of bench S."""
    stress_tasks: int = 500
    """Tasks in each run of bench S; bench R serves each prompt once."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One bench under one load: a world for each fleet, and what the router knows there."""

    about: Mapping[str, Any]
    world: MakeWorld


def evaluate(folder: Path, plan: Plan, tell: Tell = lambda _: None) -> dict[str, Any]:
    """All rows.

    Raises UnknownPolicy for a wrong name, MissingExtra when no policy is left that can run here, DataUnusable
    when the folder lacks what is needed or a file is damaged.
    """
    _check(plan)
    plan = _each_once(plan)
    skipped = [name for name in plan.policies if name.startswith("litellm") and not litellm_policies()]
    for name in skipped:
        tell(f"{name}: skipped, the package litellm is not installed")
    names = [name for name in plan.policies if name not in skipped]
    if not names:
        raise MissingExtra("no policy is left to run: the package litellm is not installed")
    records = read_records(folder, tell)
    rows: list[dict[str, Any]] = []
    unable: list[str] = []
    for setting in _settings(records, plan, tell):
        about = " ".join(f"{key} {value}" for key, value in setting.about.items())
        try:
            runs = _runs(setting, plan, names)
        except DataUnusable as error:
            unable.append(f"{about}: skipped, {error.message}")
            tell(unable[-1])
            continue
        rows += rows_of(runs, setting.about, plan.seed)
        tell(f"{about}: done")
    if not rows:
        raise DataUnusable("; ".join(unable))
    return {"rows": rows, "skipped": skipped, "fleets": plan.fleets, "seed": plan.seed}


def _once(asked: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(asked))


def _each_once(plan: Plan) -> Plan:
    return replace(
        plan,
        loads=_once(plan.loads),
        arrivals=_once(plan.arrivals),
        benches=_once(plan.benches),
        policies=_once(plan.policies),
    )


def _check(plan: Plan) -> None:
    _check_names("policy", plan.policies, POLICIES)
    _check_names("bench", plan.benches, tuple(BENCHES))
    _check_names("trace", plan.arrivals, TRACES)
    scenarios = dict.fromkeys(name for bench in plan.benches for name in BENCHES[bench])
    what = f"scenario of bench {' or '.join(plan.benches)}"
    _check_names(what, plan.scenarios or (), tuple(scenarios))


def _check_names(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise UnknownPolicy(f"{name!r} is not a known {what}", hint=f"use one of: {', '.join(known)}")


def _settings(records: Records, plan: Plan, tell: Tell) -> Iterator[Setting]:
    """What the folder allows of what was asked. Raises DataUnusable if that is nothing."""
    unable: list[str] = []

    def skip(text: str) -> None:
        unable.append(text)
        tell(text)

    count = 0
    tell("learning the older run")
    makers = {"R": _measured_settings, "S": _stressed_settings}
    for bench in BENCHES:
        for setting in makers[bench](records, plan, skip) if bench in plan.benches else ():
            count += 1
            yield setting
    if not count:
        raise DataUnusable("; ".join(unable) or "nothing is left to evaluate")


def _scenarios(bench: str, plan: Plan) -> list[str]:
    asked = USUAL_SCENARIOS[bench] if plan.scenarios is None else plan.scenarios
    return [name for name in BENCHES[bench] if name in asked]


def _measured_settings(records: Records, plan: Plan, skip: Tell) -> Iterator[Setting]:
    fleets = MeasuredFleets(records, plan.seed)
    scenarios = _possible(fleets, _scenarios("R", plan), skip)
    traces = [name for name in plan.arrivals if name in records.traces]
    for name in plan.arrivals if scenarios else ():
        if name not in traces:
            skip(f"bench R arrivals {name}: skipped, {records.lacking[f'azure_llm_2023_{name}']}")
    for scenario, trace, load in product(scenarios, traces, plan.loads):
        about = {"bench": "R", "arrivals": trace, "load": load, "scenario": scenario}
        yield Setting(about, fleets.worlds(trace, load, scenario))


def _possible(fleets: MeasuredFleets, scenarios: Sequence[str], skip: Tell) -> list[str]:
    found = []
    for scenario in scenarios:
        try:
            fleets.check(scenario)
            found.append(scenario)
        except DataUnusable as error:
            skip(f"bench R scenario {scenario}: skipped, {error.message}")
    return found


def _stressed_settings(records: Records, plan: Plan, skip: Tell) -> Iterator[Setting]:
    scenarios = _scenarios("S", plan)
    try:
        endpoints(records)
    except DataUnusable as error:
        if scenarios:
            skip(f"bench S: skipped, {error.message}")
        return
    for scenario in scenarios:
        about = {"bench": "S", "arrivals": TRACE, "load": STRESS_LOAD, "scenario": scenario}
        yield Setting(about, _stressed(records, scenario, plan))


def _stressed(records: Records, scenario: str, plan: Plan) -> MakeWorld:
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
            finished = simulation_of(world, policy).run()
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
        "outrider_hedged": lambda: HedgedOutrider(known, RouterSettings(), world.agents),
        "oracle": lambda: knowing.Oracle(seed, world),
    }
    if name in makers:
        return makers[name]()
    policy: Policy = litellm_policies()[name](seed, agents)
    return policy
