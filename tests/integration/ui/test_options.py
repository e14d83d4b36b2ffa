"""What `outrider submit` takes is taken over REST too, with a real orchestrator behind the bridge."""

from __future__ import annotations

import time
from typing import Any

from tests.integration.orchestrator.conftest import Fleet
from tests.integration.ui.running import RunningBridge
from tests.integration.ui.test_rest import assert_problem
from tests.support.waiting import eventually

ECHO = {"kind": "echo", "payload": {"text": "hi"}}
SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({"delay_s": 1, "run_at": 4e9}, "delay_s and run_at exclude each other"),
    ({"run_at": "tomorrow"}, "run_at 'tomorrow' is no instant"),
    ({"run_at": "2030-01-01T12:00:00"}, "is no instant"),
    ({"run_at": 1.0}, "in the past"),
    ({"delay_s": -1}, "delay_s -1 is not between 0 and"),
    ({"delay_s": "soon"}, "delay_s"),
    ({"cron": "now and then"}, "cron"),
    ({"cron": "0 9 * * *", "eta": True}, "cron and eta exclude each other"),
    ({"cron": "0 9 * * *", "after": ["t-1"]}, "cron and after exclude each other"),
    *(
        ({"cron": "0 9 * * *"} | other, f"cron and {next(iter(other))} exclude each other")
        for other in (
            {"run_at": 4e9},
            {"run_at": 0},
            {"delay_s": 60},
            {"unique": True},
            {"unique_key": "k"},
            {"debounce_s": 5},
            {"debounce_key": "k"},
            {"debounce_key": ""},
        )
    ),
    ({"unique": True, "debounce_s": 5, "debounce_key": "k"}, "neither cron nor debounce_s"),
    ({"unique_key": ""}, "unique_key is a text of 1 to 256 signs"),
    ({"debounce_key": "k"}, "debounce_s and debounce_key go together"),
    ({"cron": "0 9 * * *", "time_zone": "Mars/Olympus"}, "Mars/Olympus"),
    ({"time_zone": "UTC"}, "time_zone goes with cron"),
    ({"unique": "yes"}, "unique"),
    ({"unique": True, "key": "k"}, "an idempotency key goes with neither"),
    ({"debounce_s": 5}, "debounce_s and debounce_key go together"),
    ({"on_failure": "shrug"}, "on_failure"),
    ({"hedge": "perhaps"}, "hedge"),
    ({"limit_key": "a b"}, "limit_key"),
    ({"after": "t-1"}, "after"),
    ({"after": ["a.b"]}, "after"),
    ({"eta": True, "delay_s": 5}, "starts now"),
    ({"dely_s": 5}, "unknown field 'dely_s'"),
]


async def accepted(served: RunningBridge, **options: Any) -> dict[str, Any]:
    answer = await served.http.post("/api/v1/tasks", json=ECHO | options)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def read(served: RunningBridge, task_id: str) -> dict[str, Any]:
    body: dict[str, Any] = (await served.http.get(f"/api/v1/tasks/{task_id}")).json()
    return body


async def test_a_task_that_may_run_twice_says_so_in_the_ledger(served: RunningBridge, whole: Fleet) -> None:
    agent = await whole.agent("a")
    asked, plain = [(await accepted(served, **options))["task_id"] for options in ({"hedge": True}, {})]
    for _ in (asked, plain):
        await agent.succeed(await agent.next_assignment())
    envelopes = [(await whole.ended(task_id)).envelope for task_id in (asked, plain)]
    assert [envelope.hedge for envelope in envelopes if envelope is not None] == [True, None]


async def test_a_task_waits_for_others_and_says_for_which(served: RunningBridge, whole: Fleet) -> None:
    agent = await whole.agent("a")
    first = (await accepted(served, limit_key="acme"))["task_id"]
    second = await accepted(served, after=[first], on_failure="run")
    assert second["after"] == [first]
    parent, running = await read(served, first), await agent.next_assignment()
    assert (parent["limit_key"], "after" in parent) == ("acme", False)

    async def blocked() -> bool:
        return bool((await read(served, second["task_id"]))["state"] == "blocked")

    await eventually(blocked)
    assert (await read(served, second["task_id"]))["after"] == [first]
    await agent.fail(running, retryable=False)
    assert (await agent.next_assignment()).task_id == second["task_id"]


async def test_a_delayed_task_is_scheduled_watched_and_cancelled(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a")
    later = await accepted(served, delay_s=3600)
    task_id = later["task_id"]
    assert (later["state"], later["payload"]) == ("scheduled", ECHO["payload"])
    assert 3500 < later["run_at"] - time.time() <= 3600
    assert (await read(served, task_id))["run_at"] == later["run_at"]
    listed = (await served.http.get("/api/v1/tasks?state=scheduled")).json()["tasks"]
    assert [task["task_id"] for task in listed] == [task_id]
    async with served.viewer() as viewer:
        await viewer.say(op="sub", topic=f"task:{task_id}")
        shown = await viewer.until(lambda message: message.get("topic") == f"task:{task_id}")
        assert (shown["task"]["state"], shown["task"]["run_at"]) == ("scheduled", later["run_at"])
    gone = (await served.http.post(f"/api/v1/tasks/{task_id}/cancel")).json()
    assert gone["state"] == "cancelled"
    assert (await read(served, task_id))["state"] == "cancelled"


async def test_an_instant_in_words_and_a_cron_schedule(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a")
    at = await accepted(served, run_at="2030-01-01T12:00:00+01:00")
    assert at["run_at"] == 1893495600.0
    cron = await served.http.post("/api/v1/tasks", json=ECHO | {"cron": "0 9 * * mon", "time_zone": "UTC"})
    assert (cron.status_code, cron.headers["location"]) == (201, "/api/v1/schedules")
    schedule = cron.json()
    assert (schedule["cron"], schedule["time_zone"], schedule["kind"]) == ("0 9 * * mon", "UTC", "echo")
    listed = (await served.http.get("/api/v1/schedules")).json()["schedules"]
    assert [one["schedule_id"] for one in listed] == [schedule["schedule_id"], at["task_id"]]


async def test_what_is_not_given_does_not_contradict_a_schedule(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a")
    absent = {"unique": False, "eta": False, "after": [], "run_at": None, "debounce_key": None}
    schedule = await accepted(served, cron="0 9 * * *", **absent)
    assert schedule["cron"] == "0 9 * * *"


async def test_delayed_tasks_are_found_behind_many_schedules(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a")
    for _ in range(3):
        await accepted(served, cron="0 9 1 1 *")
    far, soon = [(await accepted(served, delay_s=delay))["task_id"] for delay in (3600, 60)]
    first = (await served.http.get("/api/v1/schedules?limit=1")).json()["schedules"]
    assert [one["schedule_id"] for one in first] == [soon]
    address, pages = "/api/v1/tasks?state=scheduled&kind=echo&limit=1", []
    page = (await served.http.get(address)).json()
    pages.append(page["tasks"])
    page = (await served.http.get(f"{address}&cursor={page['next']}")).json()
    pages.append(page["tasks"])
    assert [[task["task_id"] for task in tasks] for tasks in pages] == [[soon], [far]]
    assert page["next"] is None
    for foreign in ("state=scheduled&cursor=k1", "cursor=s1"):
        assert_problem(await served.http.get(f"/api/v1/tasks?{foreign}"), 400, "invalid_task")


async def test_unique_and_debounced_submissions_are_one_task(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a")
    alone = [(await accepted(served, unique_key="k"))["task_id"] for _ in range(2)]
    quiet = [(await accepted(served, debounce_s=3600, debounce_key="k"))["task_id"] for _ in range(2)]
    assert (len(set(alone)), len(set(quiet))) == (1, 1)


async def test_options_that_make_no_sense_are_named(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a")
    for options, said in SENSELESS:
        answer = await served.http.post("/api/v1/tasks", json=ECHO | options)
        problem = assert_problem(answer, 400, answer.json().get("code", ""))
        assert said in problem["detail"], options


async def test_what_it_waits_for_must_exist(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a")
    for options in ({"after": ["nobody"]}, {"after_group": "nobody"}):
        assert_problem(await served.http.post("/api/v1/tasks", json=ECHO | options), 404, "not_found")
