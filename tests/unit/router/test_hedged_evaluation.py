"""Second attempts in the evaluation: who may begin one, what becomes of both, and that none looks ahead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from outrider.broker.facts import TaskFacts
from outrider.router.evaluation.hedging import HedgingSimulation, simulation_of
from outrider.router.evaluation.history import Known, learn_history, shipped_predictor
from outrider.router.evaluation.measured_fleets import MeasuredFleets
from outrider.router.evaluation.names import POLICIES
from outrider.router.evaluation.names import STRESS_SCENARIOS as SCENARIOS
from outrider.router.evaluation.records import Call, Records, read_records
from outrider.router.evaluation.run import Plan, evaluate, make_policy
from outrider.router.evaluation.simulation import Finished
from outrider.router.evaluation.stress_world import stress_world
from outrider.router.evaluation.world import Outcome, SimAgent, SimTask, World
from tests.unit.router.measured_folder import make_folder

RUNNABLE = tuple(name for name in POLICIES if not name.startswith("litellm"))
HUNG_S = 60.0
FACTS = TaskFacts(payload_bytes=100, prompt_chars=80, messages=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def records(folder: Path) -> Records:
    return read_records(folder)


@pytest.fixture(scope="module")
def measured(records: Records) -> tuple[World, Known]:
    return MeasuredFleets(records, 1).worlds("conv", 0.5, "base")(3)


@dataclass(frozen=True)
class Start:
    at: float
    task: int
    agent: int
    attempt: int


def run(world: World, known: Known, name: str = "outrider_hedged") -> tuple[list[Finished], list[Start]]:
    """What became of each task, and each attempt that began, in order."""
    starts: list[Start] = []

    def noted(task: int, agent: int, attempt: int, beside: int, at: float) -> Outcome:
        starts.append(Start(at, task, agent, attempt))
        return world.serve(task, agent, attempt, beside, at)

    policy = make_policy(name, 1, world, known)
    return simulation_of(replace(world, serve=noted), policy).run(), starts


def hanging(world: World) -> World:
    """One agent, the one with most to do, hangs with every sixteenth task."""
    fastest = min(range(len(world.agents)), key=lambda agent: world.hidden_mean_s[agent])

    def serve(task: int, agent: int, attempt: int, beside: int, at: float) -> Outcome:
        found = world.serve(task, agent, attempt, beside, at)
        hangs = agent == fastest and task % 16 == 0 and attempt == 1
        return replace(found, seconds=HUNG_S) if hangs else found

    return replace(world, serve=serve)


def two_agents(first_task: dict[int, Outcome], *at: float) -> tuple[World, Known]:
    """Two agents alike with one slot each; the first task's attempts go as said, all others take a second."""
    names = ("left", "right")
    calls = [(name, Call(("chat", number), 1.0, True)) for number in range(40) for name in names]
    known = learn_history(calls, {call.prompt: FACTS for _, call in calls}, shipped_predictor())
    tasks = [SimTask(f"t{number}", "chat", FACTS, when, 99.0) for number, when in enumerate((0.0, *at))]

    def serve(task: int, _agent: int, attempt: int, _beside: int, _at: float) -> Outcome:
        return first_task.get(attempt, Outcome(1.0)) if task == 0 else Outcome(1.0)

    return World([SimAgent(name, 1) for name in names], tasks, serve, 0.5), known


def worst(finished: list[Finished], share: float = 0.99) -> float:
    return sorted(one.sojourn_s for one in finished)[int(share * len(finished))]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_task_of_every_policy_ends_once(records: Records, scenario: str) -> None:
    world, known = stress_world(records, scenario, 0.6, 5, 80)
    for name in RUNNABLE:
        simulation = simulation_of(world, make_policy(name, 1, world, known))
        finished = simulation.run()
        assert sorted(one.task for one in finished) == list(range(80)), name
        assert [agent.in_flight for agent in simulation.agents] == [0] * len(world.agents), name
        assert isinstance(simulation, HedgingSimulation) == (name == "outrider_hedged")


def test_a_second_attempt_ends_what_hangs(measured: tuple[World, Known]) -> None:
    world, known = measured
    plain, _ = run(hanging(world), known, "outrider")
    hedged, _ = run(hanging(world), known)
    assert worst(plain) >= HUNG_S
    helped = [one for one in hedged if one.hedged]
    assert all(one.sojourn_s < HUNG_S / 2 for one in helped)
    assert any(one.cancelled_s > 1.0 and one.task % 16 == 0 for one in helped), "one that hung"
    assert not any(one.hedged or one.cancelled_s for one in plain)


def test_the_budget_holds_at_every_moment_and_only_idle_slots_are_used(measured: tuple[World, Known]) -> None:
    world, known = measured

    def slow(task: int, agent: int, attempt: int, beside: int, at: float) -> Outcome:
        return replace(world.serve(task, agent, attempt, beside, at), seconds=30.0 if task % 2 else 1.0)

    spread = [replace(task, at=task.at * 20.0) for task in world.tasks]
    _, starts = run(replace(world, serve=slow, tasks=spread), known)
    assigned: dict[int, int] = {}
    begun_beside = 0
    for start in starts:
        if start.task in assigned:
            begun_beside += 1
            assert start.agent != assigned[start.task]
            assert begun_beside <= 1.0 + 0.05 * len(assigned) + 1e-9
            assert {n for n, task in enumerate(spread) if task.at < start.at} <= set(assigned), "none waits"
        assigned.setdefault(start.task, start.agent)
    assert begun_beside >= 1 + int(0.05 * len(spread)) - 1


def test_the_loser_is_cancelled_and_its_slot_is_free_at_once() -> None:
    """The first attempt hangs; a task that came while both ran begins there in the moment the second wins."""
    world, known = two_agents({1: Outcome(HUNG_S), 2: Outcome(30.0)}, 25.0)
    finished, starts = run(world, known)
    assert [start.task for start in starts[:2]] == [0, 0]
    assert starts[0].agent != starts[1].agent
    second_at = starts[1].at
    assert 1.0 <= second_at < 20.0
    won = next(one for one in finished if one.task == 0)
    assert won.sojourn_s == second_at + 30.0
    assert won.service_s == pytest.approx(30.0)
    assert (won.hedged, won.cancelled_s) == (1, won.sojourn_s)
    assert (won.failures, won.failed_s) == (0, 0.0), "cancelled is not failed"
    # The winner took thirty times as long as known of it: the router takes the other one's slot.
    assert (starts[2].at, starts[2].agent) == (won.sojourn_s, starts[0].agent)


@pytest.mark.parametrize("last", [Outcome(40.0), Outcome(40.0, False, False)])
def test_when_one_of_two_fails_the_other_goes_on(last: Outcome) -> None:
    world, known = two_agents({1: Outcome(20.0, False, False), 2: last})
    finished, starts = run(world, known)
    (one,) = finished
    ended_at = starts[1].at + 40.0
    assert (one.succeeded, one.hedged) == (True, 1)
    if last.succeeds:
        assert len(starts) == 2, "no retry"
        assert (one.failures, one.failed_s, one.sojourn_s) == (1, 20.0, ended_at)
    else:
        # Both together are one try: its pause is that after a first one, and it begins when both are over.
        assert starts[2].at == ended_at + 0.5
        assert (one.failures, one.failed_s) == (2, 60.0)


def test_the_loser_teaches_nothing() -> None:
    world, known = two_agents({1: Outcome(HUNG_S), 2: Outcome(1.5)})
    policy = make_policy("outrider_hedged", 1, world, known)
    before = known.fresh_statistics()
    (one,) = simulation_of(world, policy).run()
    after = policy.statistics  # type: ignore[attr-defined]
    winner, loser = world.agents[one.agent].name, world.agents[1 - one.agent].name
    assert after.agent(winner).count == before.agent(winner).count + 1
    assert after.agent(loser) == before.agent(loser)
    assert not after.running


@pytest.mark.parametrize("name", [name for name in RUNNABLE if name != "oracle"])
def test_how_long_an_attempt_will_take_changes_nothing_before_it_ends(
    measured: tuple[World, Known], name: str
) -> None:
    """Whatever ends after the middle ends much later, and fails: what begins before is the same."""
    world, known = measured[0], measured[1]
    world = hanging(world)
    middle = world.tasks[len(world.tasks) // 2].at

    def corrupted(task: int, agent: int, attempt: int, beside: int, at: float) -> Outcome:
        found = world.serve(task, agent, attempt, beside, at)
        if at + found.seconds < middle:
            return found
        return replace(found, seconds=found.seconds * 9.0, succeeds=False)

    begun = [
        [start for start in run(each, known, name)[1] if start.at < middle]
        for each in (world, replace(world, serve=corrupted))
    ]
    assert begun[0] == begun[1]
    assert len(begun[0]) > len(world.tasks) // 4
    if name == "outrider_hedged":
        assert len(begun[0]) > len({start.task for start in begun[0]}), "some were hedged before"


def test_rows_tell_how_many_second_attempts_there_were(folder: Path) -> None:
    names = ("peak_ewma", "outrider", "outrider_hedged")
    plan = Plan(2, benches=("S",), scenarios=("hangs",), policies=names, stress_tasks=120)
    peak, plain, hedged = evaluate(folder, plan)["rows"]
    assert peak["hedged"] == plain["hedged"] == plain["cancelled_s"] == 0.0
    assert 0.0 < hedged["hedged"] <= 0.05 + 1 / 120
    assert hedged["cancelled_s"] > 0.0
    assert {"ratio_to_peak_ewma", "p99_ratio_to_peak_ewma", "failed_s"} <= set(hedged)
