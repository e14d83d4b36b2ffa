"""What a user does in a second terminal while `outrider up` runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from tests.acceptance.cli.command import Said
from tests.support.processes import Process
from tests.support.waiting import eventually

Run = Callable[..., Said]
TASK_KEYS = [
    "task_id",
    "kind",
    "state",
    "agent",
    "attempts",
    "predicted_s",
    "waiting_s",
    "service_s",
    "sojourn_s",
    "result",
    "error",
]


def test_submit_prints_the_id_and_get_finds_the_task(run: Run) -> None:
    submitted = run("submit", "echo", "--data", '{"n": 1}')
    assert submitted.code == 0
    task_id = submitted.out.strip()
    assert run("task", "watch", task_id).code == 0
    got = run("task", "get", task_id, "--json")
    assert got.code == 0
    assert list(got.document) == TASK_KEYS
    assert (got.document["state"], got.document["result"]) == ("succeeded", {"n": 1})
    assert task_id in run("task", "get", task_id).out


def test_an_estimate_says_when_and_submits_nothing(run: Run) -> None:
    said = run("estimate", "sleep", "--data", '{"seconds": 0.2}', "--deadline", "60", "--json")
    assert said.code == 0
    found = said.document
    assert (found["kind"], found["can_meet"], found["agents"], found["warning"]) == ("sleep", "yes", 2, None)
    assert 0 < found["p50_s"] <= found["p90_s"]
    assert run("estimate", "sleep").out.startswith("finish in p50 ")
    assert run("estimate", "paint").code == 4


def test_submit_tells_the_eta_and_refuses_what_comes_too_late(run: Run) -> None:
    said = run("submit", "sleep", "--data", '{"seconds": 0.1}', "--eta", "--wait", "--json")
    assert said.code == 0
    assert said.document["eta"]["p50_s"] > 0
    assert "finish in p50 " in said.err
    late = ("submit", "sleep", "--data", '{"seconds": 30}', "--deadline", "0.001")
    refused = run(*late, "--refuse-late", "--json")
    assert refused.code == 4
    assert refused.document["error"]["code"] == "refused"
    flagged = run(*late, "--eta")
    assert flagged.code == 0
    assert "cannot be met" in flagged.err
    assert run("submit", "sleep", "--refuse-late").code == 2


def test_router_stats_say_how_true_predictions_were(run: Run) -> None:
    for _ in range(3):
        assert run("submit", "echo", "--wait").code == 0
    said = run("router", "stats", "--json")
    assert said.code == 0
    found = said.document
    assert found["attempts"] >= 3
    assert 0 <= found["p50_coverage"] <= found["p90_coverage"] <= 1
    assert found["kinds"]["echo"]["attempts"] >= 3
    assert run("router", "stats").out.startswith("KIND")


def test_waiting_prints_the_result(run: Run) -> None:
    said = run("submit", "echo", "--data", '{"n": 1}', "--wait")
    assert said.code == 0
    assert json.loads(said.out) == {"n": 1}


def test_waiting_with_json_prints_one_document(run: Run) -> None:
    said = run("--json", "submit", "echo", "--data", '{"n": 1}', "--wait", "--stream")
    assert said.code == 0
    assert list(said.document) == TASK_KEYS
    task = said.document
    assert (task["kind"], task["state"], task["attempts"]) == ("echo", "succeeded", 1)
    assert task["agent"] in ("agent-1", "agent-2")
    assert all(task[name] is not None for name in ("predicted_s", "waiting_s", "service_s", "sojourn_s"))


def test_the_payload_comes_from_a_file_or_stdin(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"from": "file"}')
    assert json.loads(run("submit", "echo", "--data", f"@{file}", "--wait").out) == {"from": "file"}
    said = run("submit", "echo", "--data", "-", "--wait", stdin=b'{"from": "stdin"}')
    assert json.loads(said.out) == {"from": "stdin"}


def test_a_key_makes_one_task_and_another_body_is_refused(run: Run) -> None:
    first, again = (run("submit", "echo", "--data", "1", "--key", "k-1").out for _ in range(2))
    assert first == again
    said = run("submit", "echo", "--data", "2", "--key", "k-1", "--json")
    assert (said.code, said.document["error"]["code"]) == (4, "idempotency_conflict")


@pytest.mark.parametrize(
    ("arguments", "code", "end"),
    [
        (("submit", "sleep", "--data", '{"seconds": "long"}', "--wait"), 10, "dead"),
        (("submit", "sleep", "--data", '{"seconds": 60}', "--deadline", "1", "--wait"), 12, "expired"),
    ],
)
def test_an_end_without_a_result_has_its_own_code(
    run: Run, arguments: tuple[str, ...], code: int, end: str
) -> None:
    said = run(*arguments)
    assert (said.code, said.out) == (code, "")
    assert said.err.splitlines()[-1].startswith("outrider: task ")
    with_json = run(*arguments, "--json")
    assert (with_json.code, with_json.document["state"]) == (code, end)
    assert with_json.document["error"]["message"]


def test_a_cancelled_task_ends_for_everybody(run: Run, state: Path) -> None:
    task_id = run("submit", "sleep", "--data", '{"seconds": 60}').out.strip()
    cancelled = run("task", "cancel", task_id, "--reason", "not needed", "--json")
    assert (cancelled.code, cancelled.document["state"]) == (0, "cancelled")
    watched = run("task", "watch", task_id)
    assert watched.code == 11
    assert "not needed" in watched.err
    assert run("task", "cancel", task_id).code in (0, 4)


def test_waiting_in_vain_ends_with_124(run: Run) -> None:
    said = run("submit", "sleep", "--data", '{"seconds": 60}', "--within", "0.5")
    assert said.code == 124
    task_id = said.err.split("task ")[1].split()[0]
    assert run("task", "cancel", task_id).code == 0


async def test_ctrl_c_leaves_the_task_running(up: Process, run: Run, state: Path) -> None:
    arguments = ("submit", "sleep", "--data", '{"seconds": 60}', "--wait", "--key", "interrupted")
    waiting = Process(*arguments, env={"OUTRIDER_STATE": str(state)}).start()

    async def is_accepted() -> bool:
        return "sleep" in run("task", "ls", "--only", "assigned").out

    await eventually(is_accepted)
    waiting.send(signal.SIGINT)
    assert await waiting.ended() == 130
    assert "goes on" in waiting.err
    task_id = run("submit", "sleep", "--data", '{"seconds": 60}', "--key", "interrupted").out.strip()
    assert run("task", "get", task_id, "--json").document["state"] in ("assigned", "running")
    assert run("task", "cancel", task_id).code == 0


def test_tasks_are_listed_newest_first_and_bounded(run: Run) -> None:
    ids = [run("submit", "echo", "--data", str(n), "--wait", "--json").document["task_id"] for n in range(3)]
    listed = run("task", "ls", "--limit", "3", "--json").document["tasks"]
    assert [task["task_id"] for task in listed] == ids[::-1]
    assert list(listed[0]) == TASK_KEYS
    assert all(task["state"] == "succeeded" for task in listed)
    shown = run("task", "ls", "--only", "succeeded").out
    assert all(task_id in shown for task_id in ids)


def test_agents_are_listed(run: Run) -> None:
    agents = run("agent", "ls", "--json").document["agents"]
    assert sorted(agent["agent_id"] for agent in agents) == ["agent-1", "agent-2"]
    assert list(agents[0]) == ["agent_id", "state", "kinds", "slots", "in_flight", "last_seen_s"]
    assert all((agent["state"], agent["slots"]) == ("online", 4) for agent in agents)
    assert "agent-1" in run("agent", "ls").out


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("submit", "paint"), 4, "unknown_kind"),
        (("submit", "echo", "--priority", "12"), 2, "invalid_task"),
        (("submit", "not.a.kind"), 2, "invalid_name"),
        (("submit", "echo", "--requires", "two words"), 2, "invalid_task"),
        (("task", "get", "no-such-task"), 3, "not_found"),
        (("task", "watch", "no-such-task"), 3, "not_found"),
        (("task", "cancel", "no-such-task"), 3, "not_found"),
        (("task", "get", "not.an.id"), 2, "invalid_name"),
        (("agent", "drain", "no-such-agent"), 3, "agent_not_found"),
    ],
)
def test_bad_input_is_one_clear_error(run: Run, arguments: tuple[str, ...], code: int, error: str) -> None:
    said = run(*arguments)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("outrider: ")
    assert said.err.count("\n") == 1
    with_json = run(*arguments, "--json")
    assert (with_json.code, with_json.document["error"]["code"]) == (code, error)
    assert run("submit", "echo", "--wait").code == 0, "nothing else breaks"


def test_a_large_payload_is_accepted_and_shown_by_its_hash(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "big.json"
    file.write_text(json.dumps({"text": "x" * 300_000}))
    said = run("submit", "echo", "--data", f"@{file}", "--wait", "--json")
    assert said.code == 0
    assert len(said.document["payload_ref"]["sha256"]) == 64
    assert len(said.document["result"]["text"]) == 300_000


def test_labels_that_nobody_has_give_a_warning(run: Run) -> None:
    said = run("submit", "echo", "--requires", "gpu")
    assert said.code == 0
    assert "gpu" in said.err
    assert run("task", "cancel", said.out.strip()).code == 0


def test_doctor_finds_nothing_wrong(run: Run) -> None:
    said = run("doctor", "--json")
    assert said.code == 0, said.out
    by_name = {check["name"]: check["status"] for check in said.document["checks"]}
    assert by_name["orchestrator"] == by_name["router"] == by_name["agents"] == by_name["NATS"] == "ok"
    assert run("doctor").out.count("\n") == len(by_name)


def test_decode_reads_a_body(run: Run) -> None:
    assert run("decode", stdin=msgpack.packb({"a": 1})).document == {"a": 1}


def test_a_reader_that_leaves_early_makes_no_noise(up: Process, state: Path) -> None:
    command = [sys.executable, "-m", "outrider.cli", "task", "ls"]
    env = {**os.environ, "OUTRIDER_STATE": str(state)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""


def test_stress_loads_the_running_fleet(run: Run) -> None:
    said = run("stress", "--tasks", "300", "--json")
    assert said.code == 0, said.err
    report = said.document
    assert (report["tasks"], report["succeeded"], report["lost"], report["duplicates"]) == (300, 300, 0, 0)
    assert report["tasks_per_s"] > 0


def test_a_second_fleet_in_the_same_folder_is_refused(run: Run) -> None:
    said = run("up", "--agents", "1", "--kinds", "echo", "--json")
    assert (said.code, said.document["error"]["code"]) == (4, "refused")


def test_the_same_sequence_gives_the_same_state(run: Run) -> None:
    submitted = run("submit", "echo", "--data", '{"n": 7}', "--wait", "--json").document
    states = [run("ledger", "state", "--json").document for _ in range(2)]
    at = states[0]["seq"]
    assert states[0]["first_seq"] == 1
    whole = [run("ledger", "state", "--at", str(at), "--whole", "--json").document for _ in range(2)]
    assert {state["hash"] for state in (states[0], *whole)} == {states[0]["hash"]}
    assert run("ledger", "state", "--at", str(at - 1), "--json").document["hash"] != states[0]["hash"]
    assert run("ledger", "state", "--at", str(10**9)).code == 1

    story = run("ledger", "story", submitted["task_id"], "--json").document
    assert [entry["entry"]["type"] for entry in story["entries"]] == ["assigned", "succeeded"]
    first = story["entries"][0]["seq"]
    then = run("ledger", "story", submitted["task_id"], "--at", str(first), "--json").document
    assert (story["task"]["state"], then["task"]["state"]) == ("succeeded", "assigned")
    assert run("ledger", "story", submitted["task_id"], "--at", str(first - 1)).code == 3
    assert "succeeded" in run("ledger", "story", submitted["task_id"]).out


def test_a_dead_task_is_listed_shown_and_done_again(run: Run) -> None:
    run("dead", "discard", "--all")
    dead = run("submit", "sleep", "--data", '{"seconds": "no number"}', "--max-attempts", "1", "--wait")
    assert dead.code == 10
    (letter,) = run("dead", "ls", "--kind", "sleep", "--json").document["dead"]
    task_id = letter["task_id"]
    shown = run("dead", "show", task_id, "--json").document
    assert shown["task"]["payload"] == {"seconds": "no number"}
    assert [entry["type"] for entry in shown["story"]] == ["assigned", "failed", "dead"]
    assert letter["error_class"] in run("dead", "show", task_id).out
    dry = run("dead", "requeue", "--kind", "sleep", "--dry-run", "--json")
    assert (dry.code, dry.document["matched"], dry.document["dry_run"]) == (0, 1, True)
    again = run("dead", "requeue", task_id, "--json").document["dead"][0]["requeued_as"]
    assert run("task", "watch", again).code == 10
    assert run("task", "get", again, "--json").document["requeued_from"] == task_id
    assert run("dead", "requeue", task_id).out == f"{task_id} is requeued as {again}\n"
    assert run("dead", "discard", "--kind", "sleep").out == f"{again} is discarded\n"
    assert run("dead", "ls", "--kind", "sleep", "--json").document == {"dead": []}
    assert run("dead", "requeue", again).code == 4
    assert run("dead", "requeue", "nobody").code == 3
    assert run("dead", "requeue").code == 2


def test_a_paused_kind_waits_until_it_is_resumed(run: Run) -> None:
    assert run("pause", "echo", "--reason", "a test").out == "paused: echo\n"
    submitted = run("submit", "echo", "--data", '{"n": 7}')
    assert "is paused" in submitted.err
    assert run("pause", "--json").document == {"all": False, "kinds": ["echo"]}
    assert run("task", "get", submitted.out.strip(), "--json").document["state"] == "queued"
    assert run("resume", "--all").out == "nothing is paused\n"
    assert run("task", "watch", submitted.out.strip()).code == 0
    assert run("pause", "nobodys").code == 4
    assert run("resume").code == 2


def test_a_replay_of_the_recorded_policy_changes_nothing_and_another_is_estimated(run: Run) -> None:
    lines = b"\n".join(b"%d" % number for number in range(40))
    assert run("group", "submit", "echo", "--lines", "-", "--name", "replayed", stdin=lines).code == 0
    assert run("group", "wait", "replayed", "--within", "30").code == 0
    same = run("router", "replay", "--since", "1h", "--policy", "recorded", "--json")
    assert same.code == 0
    assert same.document["decisions"] >= 40
    nothing = {"estimate": 0.0, "low": 0.0, "high": 0.0}
    assert same.document["change"] == dict.fromkeys(("mean_s", "p95_s", "p99_s"), nothing)
    for which in (("--policy", "least_outstanding"), ("--model", "serving")):
        said = run("router", "replay", *which, "--json").document
        parts = said["matched_share"] + said["modelled_share"] + sum(said["unjudged"].values())
        assert parts == pytest.approx(1.0)
    shown = run("router", "replay", "--policy", "recorded")
    assert "estimate: matched" in shown.out
    assert "SOJOURN" in shown.out
    assert shown.out.startswith("against policy recorded\n")
    assert "-0 ms" not in shown.out
    assert run("router", "replay", "--model", "serving").out.startswith("against model seed-")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--policy", "best"), 2, "unknown_policy"),
        (("--model", "no-such-model"), 1, "model_refused"),
        (("--model", "../elsewhere"), 2, "invalid_name"),
        (("--policy", "random", "--model", "serving"), 2, "usage"),
        ((), 2, "usage"),
    ],
)
def test_a_replay_of_what_is_not_known_is_refused(
    run: Run, arguments: tuple[str, ...], code: int, error: str
) -> None:
    said = run("router", "replay", *arguments, "--json")
    assert (said.code, said.document["error"]["code"]) == (code, error)
