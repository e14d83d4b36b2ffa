"""REST for operators on a real orchestrator: dead letters and pauses, and what is refused and how."""

from __future__ import annotations

from outrider.broker.states import TaskState
from tests.integration.orchestrator.conftest import Fleet
from tests.integration.ui.running import RunningBridge
from tests.integration.ui.test_rest import assert_problem
from tests.support.scripted_agent import ScriptedAgent
from tests.support.waiting import eventually


async def die(whole: Fleet, agent: ScriptedAgent) -> str:
    task_id = await whole.submit(payload={"n": 1})
    await agent.fail(await agent.next_assignment(), retryable=False)
    await whole.ended(task_id, TaskState.DEAD)
    return task_id


async def test_a_dead_letter_is_listed_requeued_and_gone(served: RunningBridge, whole: Fleet) -> None:
    agent = await whole.agent("a")
    first, second = await die(whole, agent), await die(whole, agent)
    listed = (await served.http.get("/api/v1/dead")).json()
    assert [letter["task_id"] for letter in listed["letters"]] == [second, first]
    assert (listed["matched"], listed["next_before"], listed["unlisted"]) == (2, None, 0)
    letter = listed["letters"][0]
    assert (letter["kind"], letter["error_class"], letter["reason"]) == ("echo", "handler", "it did not work")

    page = (await served.http.get("/api/v1/dead?limit=1")).json()
    rest = (await served.http.get(f"/api/v1/dead?limit=1&before={page['next_before']}")).json()
    assert [one["task_id"] for one in page["letters"] + rest["letters"]] == [second, first]
    assert (await served.http.get("/api/v1/dead?kind=other")).json()["letters"] == []

    again = await served.http.post(f"/api/v1/dead/{first}/requeue", json={"reason": "mended"})
    assert again.status_code == 200, again.text
    assignment = await agent.next_assignment()
    assert (again.json()["task_id"], again.json()["requeued_as"]) == (first, assignment.task_id)
    await agent.succeed(assignment)
    gone = await served.http.post(f"/api/v1/dead/{second}/discard")
    assert (gone.status_code, gone.json()["task_id"]) == (200, second)
    assert (await served.http.get("/api/v1/dead")).json()["letters"] == []


async def test_what_cannot_be_dealt_with_is_a_problem(served: RunningBridge, whole: Fleet) -> None:
    agent = await whole.agent("a")
    task_id = await whole.submit()
    await agent.succeed(await agent.next_assignment())
    await whole.ended(task_id)
    assert_problem(await served.http.post(f"/api/v1/dead/{task_id}/requeue"), 409, "refused")
    assert_problem(await served.http.post("/api/v1/dead/nobody/requeue"), 404, "not_found")
    assert_problem(await served.http.post("/api/v1/dead/no.name/discard"), 400, "invalid_name")
    assert_problem(await served.http.post("/api/v1/dead/nobody/discard", json=["x"]), 400, "invalid_task")
    assert_problem(await served.http.post("/api/v1/pause", json={}), 400, "invalid_task")
    assert_problem(await served.http.post("/api/v1/pause", json={"kinds": "echo"}), 400, "invalid_task")
    assert_problem(await served.http.post("/api/v1/pause", json={"kind": "unheard"}), 404, "unknown_kind")
    long = {"kind": "echo", "reason": "x" * 5000}
    assert_problem(await served.http.post("/api/v1/pause", json=long), 413, "payload_too_large")
    for path in ("pause", "resume", f"dead/{task_id}/requeue", f"dead/{task_id}/discard"):
        elsewhere = {"origin": "http://elsewhere.example"}
        refused = await served.http.post(f"/api/v1/{path}", json={}, headers=elsewhere)
        assert_problem(refused, 403, "origin_not_allowed")


async def test_a_paused_kind_waits_until_it_is_resumed(served: RunningBridge, whole: Fleet) -> None:
    agent = await whole.agent("a")
    paused = await served.http.post("/api/v1/pause", json={"kind": "echo", "reason": "a test"})
    assert paused.json() == {"all": False, "kinds": ["echo"], "v": 1}
    await whole.submit()

    async def is_shown() -> bool:
        async with served.viewer() as viewer:
            await viewer.op("hello")
            await viewer.say(op="sub", topic="stats")
            await viewer.until(lambda message: message.get("topic") == "stats")
            return bool(viewer.rows["stats"].get("now", {}).get("paused") == ["echo"])

    await eventually(is_shown, 20, "the pause on the pages")
    assert agent.assigned.empty()
    resumed = await served.http.post("/api/v1/resume", json={"all": True})
    assert resumed.json() == {"all": False, "kinds": [], "v": 1}
    await agent.succeed(await agent.next_assignment())
