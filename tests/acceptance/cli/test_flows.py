"""Chains and groups from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.acceptance.cli.command import Said

Run = Callable[..., Said]


def test_a_task_after_another_runs_and_after_a_typo_is_refused(run: Run) -> None:
    parent = run("submit", "echo", "--data", "1").out.strip()
    child = run("submit", "echo", "--data", "2", "--after", parent, "--on-failure", "run", "--wait", "--json")
    assert (child.code, child.document["result"], child.document["after"]) == (0, 2, [parent])
    assert parent in run("task", "get", child.document["task_id"]).out
    assert "after" not in run("task", "get", parent, "--json").document
    cron = run("submit", "echo", "--cron", "0 9 * * *", "--after", parent, "--json")
    assert (cron.code, cron.document["error"]["code"]) == (2, "usage")
    assert run("submit", "echo", "--after-group", "", "--json").code == 2
    refused = run("submit", "echo", "--after", "typo", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (3, "not_found")
    assert run("submit", "echo", "--after", parent, "--on-failure", "perhaps").code == 2


def test_a_group_is_submitted_followed_and_listed(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "payloads.jsonl"
    lines.write_text('{"n": 0}\n{"n": 1}\n\n{"n": 2}\n')
    made = run("group", "submit", "echo", "--lines", str(lines), "--name", "batch", "--hook", "echo")
    assert (made.code, made.out.strip()) == (0, "batch")
    assert run("group", "wait", "batch", "--within", "30").code == 0
    assert run("task", "watch", "batch-hook").code == 0
    shown = run("group", "show", "batch", "--json").document
    assert shown["hook"].pop("state") == "succeeded"
    assert shown["hook"].pop("task_id") == "batch-hook"
    del shown["hook"]
    assert shown == {"group": "batch", "size": 3, "ended": 3, "is_over": True, "states": {"succeeded": 3}}
    listed = run("task", "ls", "--group", "batch", "--json").document["tasks"]
    assert [(task["task_id"], task["group"], task["result"]) for task in listed] == [
        (f"batch-{n}", "batch", {"n": n}) for n in range(3)
    ]
    after = run("submit", "echo", "--data", "4", "--after-group", "batch", "--wait")
    assert after.code == 0
    assert run("group", "show", "nothing", "--json").code == 3
    assert "3 of 3" in run("group", "show", "batch").out


def test_a_group_can_be_cancelled(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "payloads.jsonl"
    lines.write_text('{"seconds": 60}\n' * 3)
    made = run("group", "submit", "sleep", "--lines", "-", "--json", stdin=lines.read_bytes())
    cancelled = run("group", "cancel", made.document["group"], "--json")
    assert cancelled.code == 0
    assert cancelled.document["states"] == {"cancelled": 3}
