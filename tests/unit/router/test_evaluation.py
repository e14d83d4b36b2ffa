"""The evaluation is fair: no policy sees what only the simulator knows; equal seeds give equal rows."""

import gzip
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from outrider.cli.main import main
from outrider.router.evaluation.measured_fleets import MeasuredFleets
from outrider.router.evaluation.measured_world import history_calls, split_prompts
from outrider.router.evaluation.names import POLICIES
from outrider.router.evaluation.names import STRESS_SCENARIOS as SCENARIOS
from outrider.router.evaluation.records import read_records
from outrider.router.evaluation.run import Plan, UnknownPolicy, evaluate, make_policy
from outrider.router.evaluation.simulation import AgentNow, Placement, Policy, Simulation
from outrider.router.evaluation.tables import DataUnusable
from outrider.router.evaluation.world import Outcome, SimTask, World
from tests.unit.router.measured_folder import MODELS, PROMPTS, make_folder

RUNNABLE = tuple(name for name in POLICIES if not name.startswith("litellm"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    return evaluate(folder, Plan(2, loads=(0.7,), arrivals=("conv",), benches=("R",), policies=RUNNABLE))


def world_of(folder: Path) -> tuple[World, Any]:
    return MeasuredFleets(read_records(folder), 1).worlds("conv", 0.7, "base")(3)


def row(report: dict[str, Any], policy: str, scenario: str = "base", bench: str = "R") -> dict[str, Any]:
    (found,) = (
        r for r in report["rows"] if (r["policy"], r["scenario"], r["bench"]) == (policy, scenario, bench)
    )
    return dict(found)


def test_every_policy_has_a_row_that_makes_sense(report: dict[str, Any]) -> None:
    assert [found["policy"] for found in report["rows"]] == list(RUNNABLE)
    for found in report["rows"]:
        assert 0 < found["mean_s"] < found["p99_s"] * 1.0001 + 1e-6
        assert 0 <= found["goodput"] <= 1
    ours = row(report, "outrider")
    assert ours["ratio_to_peak_ewma_interval"][0] <= ours["ratio_to_peak_ewma"]
    assert 0.5 < ours["p90_coverage"] <= 1
    assert row(report, "oracle")["mean_s"] <= ours["mean_s"]
    assert ours["mean_s"] < 0.8 * row(report, "random")["mean_s"]


def test_failing_at_once_attracts_less_work_of_ours_than_of_a_moving_average(folder: Path) -> None:
    plan = Plan(1, benches=("S",), policies=("peak_ewma", "outrider"), stress_tasks=90)
    stressed = evaluate(folder, plan)
    assert len(stressed["rows"]) == 2 * len(SCENARIOS)
    ours, peak = (row(stressed, name, "instant_429", "S") for name in ("outrider", "peak_ewma"))
    assert ours["failures"] <= 0.5 * peak["failures"]


def test_the_same_seed_gives_the_same_rows(folder: Path, report: dict[str, Any]) -> None:
    plan = Plan(fleets=2, loads=(0.7,), arrivals=("conv",), benches=("R",), policies=RUNNABLE)
    again = evaluate(folder, plan)["rows"]
    for found, before in zip(again, report["rows"], strict=False):
        assert found | {"decision_ms": 0} == before | {"decision_ms": 0}


class Recorder:
    """Any policy, with a note of all it placed."""

    def __init__(self, inner: Policy) -> None:
        self.name = inner.name
        self.notes: list[tuple[float, int, int]] = []
        self._inner = inner
        self.placed, self.ended = inner.placed, inner.ended

    def place(
        self, now: float, waiting: Sequence[int], tasks: Sequence[SimTask], agents: Sequence[AgentNow]
    ) -> Sequence[Placement]:
        found = self._inner.place(now, waiting, tasks, agents)
        self.notes += [(now, one.task, one.agent) for one in found]
        return found


@pytest.mark.parametrize("name", [name for name in RUNNABLE if name not in ("oracle", "outrider_hedged")])
def test_what_comes_later_changes_no_decision_before(folder: Path, name: str) -> None:
    world, known = world_of(folder)
    middle = len(world.tasks) // 2

    def corrupted(task: int, agent: int, attempt: int, beside: int, at: float) -> Outcome:
        found = world.serve(task, agent, attempt, beside, at)
        return replace(found, seconds=found.seconds * 9, succeeds=False) if task >= middle else found

    notes = []
    for each in (world, replace(world, serve=corrupted)):
        policy = Recorder(make_policy(name, 1, each, known))
        Simulation(each, policy).run()
        notes.append([note for note in policy.notes if note[0] < world.tasks[middle].at])
    assert notes[0] == notes[1]
    assert len(notes[0]) > middle // 2


def test_durations_dealt_out_among_agents_leave_no_gain(tmp_path: Path, report: dict[str, Any]) -> None:
    plan = Plan(
        fleets=4,
        loads=(0.7,),
        arrivals=("conv",),
        benches=("R",),
        policies=("least_outstanding", "least_outstanding_per_slot", "peak_ewma", "outrider", "oracle"),
    )
    shuffled = evaluate(make_folder(tmp_path, is_shuffled=True), plan)
    usual = row(shuffled, "least_outstanding_per_slot")["mean_s"]
    assert row(shuffled, "outrider")["mean_s"] > 0.85 * usual, "nobody can know who is fast here"
    assert row(report, "outrider")["mean_s"] < 0.85 * row(report, "least_outstanding")["mean_s"]


def test_a_prompt_is_history_or_served_and_only_older_runs_are_history(folder: Path) -> None:
    records = read_records(folder)
    for part in range(3):
        split = split_prompts(records, part)
        assert not split.history & set(split.served)
        assert len(split.history) + len(split.served) == len(records.facts) == 3 * PROMPTS
        calls = history_calls(records, split)
        assert {call.prompt for _, call in calls} == split.history
        assert len({model for model, _ in calls}) == len(MODELS) - 1, "the newest model is in no older run"


def test_each_prompt_is_served_once_and_every_task_ends(folder: Path) -> None:
    world, known = world_of(folder)
    finished = Simulation(world, make_policy("outrider", 1, world, known)).run()
    assert sorted(one.task for one in finished) == list(range(len(world.tasks)))
    assert all(one.sojourn_s >= one.service_s - 1e-9 for one in finished)


def test_a_policy_that_is_not_known_is_named_and_one_not_installed_is_skipped(folder: Path) -> None:
    with pytest.raises(UnknownPolicy, match="lowest"):
        evaluate(folder, Plan(policies=("lowest",)))
    said: list[str] = []
    plan = Plan(1, loads=(0.5,), arrivals=("conv",), benches=("R",), policies=("random", "litellm_latency"))
    found = evaluate(folder, plan, said.append)
    if find_spec("litellm") is None:
        assert found["skipped"] == ["litellm_latency"]
        assert any("litellm_latency: skipped" in line for line in said)


def test_a_fleet_of_known_models_has_none_that_the_older_run_lacks(folder: Path) -> None:
    fleets, newest = MeasuredFleets(read_records(folder), 1), list(MODELS)[-1].replace(".", "_")
    names = {
        scenario: {
            agent.name for n in range(6) for agent in fleets.worlds("conv", 0.7, scenario)(n)[0].agents
        }
        for scenario in ("base", "known")
    }
    assert newest in names["base"]
    assert names["known"] == names["base"] - {newest}


def test_nothing_is_known_of_newcomers_but_other_models_stay_known(folder: Path) -> None:
    """The fleets and tasks of `base`; what older calls of the fleet's own models took is all the same."""
    records = read_records(folder)
    base = MeasuredFleets(records, 1).worlds("conv", 0.7, "base")
    number = next(number for number in range(50) if len(base(number)[0].agents) < len(MODELS) - 1)
    usual, _ = base(number)
    fleet = {agent.name for agent in usual.agents}
    slower = deepcopy(records)
    older = next(iter(slower.runs.values()))
    for model in fleet & set(older):
        older[model] = [replace(call, seconds=call.seconds * 50) for call in older[model]]

    starts = []
    for each in (records, slower):
        world, known = MeasuredFleets(each, 1).worlds("conv", 0.7, "newcomers")(number)
        assert (world.agents, world.tasks) == (usual.agents, usual.tasks)
        assert not fleet & ({*known.by_agent, *known.statistics.agents})
        assert set(known.by_agent) == set(older) - fleet
        finished = Simulation(world, make_policy("outrider", 1, world, known)).run()
        starts.append([(one.task, one.agent) for one in finished])
    assert starts[0] == starts[1]


def test_scenarios_are_those_that_were_asked_for(folder: Path) -> None:
    plan = Plan(1, loads=(0.7,), arrivals=("conv",), policies=("random",), stress_tasks=40)
    found = evaluate(folder, replace(plan, scenarios=("newcomers", "known", "hangs")))["rows"]
    assert [(r["bench"], r["scenario"]) for r in found] == [
        ("R", "known"),
        ("R", "newcomers"),
        ("S", "hangs"),
    ]
    usual = evaluate(folder, plan)["rows"]
    assert [r["scenario"] for r in usual] == ["base", *SCENARIOS]
    for wrong in (replace(plan, scenarios=("hang",)), replace(plan, benches=("R",), scenarios=("hangs",))):
        with pytest.raises(UnknownPolicy, match=r"'hangs?' is not a known scenario of bench R") as raised:
            evaluate(folder, wrong)
        assert "newcomers" in raised.value.hint


def test_the_command_takes_scenarios(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["router", "eval", "--data", str(folder), "--fleets", "1", "--policies", "random", "--json"]
    asked = ["--arrivals", "conv", "--loads", "0.7", "--scenarios"]
    assert main([*usual, *asked, "known,join_leave"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(r["scenario"], r["hedged"]) for r in rows] == [("known", 0.0), ("join_leave", 0.0)]
    assert main([*usual, *asked, "nobody"]) != 0
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "unknown_policy"
    assert "newcomers" in error["hint"]


def test_a_scenario_that_the_folder_cannot_show_is_skipped_or_named(tmp_path: Path) -> None:
    make_folder(tmp_path)
    calls = tmp_path / "bfcl_latency.csv.gz"
    lines = gzip.decompress(calls.read_bytes()).splitlines(keepends=True)
    calls.write_bytes(gzip.compress(b"".join(line for line in lines if b"2030-01" not in line)))
    plan = Plan(1, loads=(0.7,), arrivals=("conv",), benches=("R",), policies=("random", "outrider"))
    with pytest.raises(DataUnusable, match="known needs two models"):
        evaluate(tmp_path, replace(plan, scenarios=("known",)))
    said: list[str] = []
    rows = evaluate(tmp_path, replace(plan, scenarios=("base", "known", "newcomers")), said.append)["rows"]
    assert {r["scenario"] for r in rows} == {"base", "newcomers"}
    assert any("scenario known: skipped" in line for line in said)


def test_the_gap_needs_no_other_policies_and_the_largest_share_is_told_for_many_fleets(
    folder: Path, report: dict[str, Any]
) -> None:
    names = ("peak_ewma", "outrider", "oracle")
    plan = Plan(2, loads=(0.7,), arrivals=("conv",), benches=("R",), policies=names)
    found = evaluate(folder, plan)
    for name in names:
        assert row(found, name)["gap_closed"] == row(report, name)["gap_closed"]
        assert row(found, name)["share_of_agents"] is None
    assert row(found, "oracle")["gap_closed"] == 1
    alone = [row(evaluate(folder, replace(plan, fleets=1)), name) for name in names]
    for one in alone:
        assert one["largest_share"] == pytest.approx(max(one["share_of_agents"].values()), abs=1e-4)
    assert all(0 < row(found, name)["largest_share"] <= 1 for name in names)


def test_a_folder_without_the_calls_is_named(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataUnusable, match=r"bfcl_prompts|not a folder"):
            read_records(place)
    make_folder(tmp_path)
    (tmp_path / "llmperf_leaderboard_2023.csv.gz").unlink()
    said: list[str] = []
    plan = Plan(fleets=1, loads=(0.5,), arrivals=("code",), policies=("random",))
    assert {r["bench"] for r in evaluate(tmp_path, plan, said.append)["rows"]} == {"R"}
    assert any("llmperf" in line for line in said)
