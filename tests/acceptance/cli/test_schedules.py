"""`outrider submit --delay|--at|--cron` and `outrider schedule ls|rm` beside a running fleet."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.cli.command import Said

Run = Callable[..., Said]


def test_a_delayed_task_is_scheduled_then_runs(run: Run) -> None:
    said = run("submit", "echo", "--data", '{"n": 1}', "--delay", "800ms", "--wait", "--json")
    assert said.code == 0
    assert said.document["state"] == "succeeded"
    assert said.document["sojourn_s"] >= 0.7


def test_a_schedule_is_listed_and_removed(run: Run) -> None:
    made = run("submit", "echo", "--cron", "30 9 * * mon-fri", "--tz", "Europe/Berlin")
    assert made.code == 0
    schedule_id = made.out.strip()
    listed = run("schedule", "ls", "--json").document["schedules"]
    found = next(schedule for schedule in listed if schedule["schedule_id"] == schedule_id)
    assert (found["cron"], found["time_zone"], found["kind"]) == ("30 9 * * mon-fri", "Europe/Berlin", "echo")
    assert schedule_id in run("schedule", "ls").out
    assert run("schedule", "rm", schedule_id).code == 0
    assert run("schedule", "rm", schedule_id).code == 3


def test_what_is_wrong_is_said(run: Run) -> None:
    said = run("submit", "echo", "--cron", "61 9 * * *")
    assert said.code != 0
    assert "minute '61': 61 is not between 0 and 59" in said.err
    said = run("submit", "echo", "--cron", "0 9 * * *", "--tz", "Europe/Berln")
    assert "did you mean Europe/Berlin" in said.err
    for other in (["--unique"], ["--unique-key", "k"], ["--debounce-key", "k"]):
        said = run("submit", "echo", "--cron", "0 9 * * *", *other)
        assert (said.code, "--cron" in said.err) == (2, True), other
    assert "in the past" in run("submit", "echo", "--at", "2020-01-01T00:00:00+00:00").err
    assert run("submit", "echo", "--delay", "5 parsecs").code == 2
