"""REST as a script uses it: what is accepted, what is refused and how, what can be read back."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.streams import StreamLimits, ensure_streams
from outrider.broker.subjects import Subjects
from tests.integration.client.counterpart import Counterpart
from tests.integration.ui.running import RunningBridge
from tests.support.waiting import eventually

ECHO = {"kind": "echo", "payload": {"text": "hi"}}


async def submitted(bridge: RunningBridge, **more: Any) -> dict[str, Any]:
    answer = await bridge.http.post("/api/v1/tasks", json=ECHO | more)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def assert_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["title"]
    assert body["detail"]
    assert "hint" in body
    return body


async def test_a_task_is_accepted_found_and_followed_to_its_end(
    bridge: RunningBridge, fleet: Counterpart
) -> None:
    answer = await bridge.http.post("/api/v1/tasks", json=ECHO | {"priority": 2, "deadline_s": 60})
    task = answer.json()
    task_id = task["task_id"]
    assert (answer.status_code, task["state"], task["priority"]) == (201, "queued", 2)
    assert answer.headers["location"] == f"/api/v1/tasks/{task_id}"
    waiting = (await bridge.http.get(answer.headers["location"])).json()
    assert (waiting["state"], waiting["payload"]) == ("queued", {"text": "hi"})
    assert waiting["deadline_at"] == pytest.approx(waiting["submitted_at"] + 60, abs=1)

    epoch = await fleet.take(task_id)
    assigned = (await bridge.http.get(f"/api/v1/tasks/{task_id}")).json()
    assert (assigned["state"], assigned["agent"], assigned["predicted_s"]) == ("assigned", "a-1", 0.5)
    await fleet.succeed(task_id, epoch, {"text": "hi"})
    over = (await bridge.http.get(f"/api/v1/tasks/{task_id}")).json()
    assert (over["state"], over["result"], over["service_s"]) == ("succeeded", {"text": "hi"}, 0.25)


async def test_the_story_names_every_entry_its_writer_and_its_place(
    bridge: RunningBridge, fleet: Counterpart
) -> None:
    task_id = (await submitted(bridge))["task_id"]
    epoch = await fleet.take(task_id)
    await fleet.succeed(task_id, epoch, "stolen", agent_id="a-2")
    await fleet.succeed(task_id, epoch, "mine")
    events = (await bridge.http.get(f"/api/v1/tasks/{task_id}/events")).json()["events"]
    assert [event["type"] for event in events] == ["assigned", "succeeded", "succeeded"]
    assert [event["ignored"] is None for event in events] == [True, False, True]
    assert events[0]["subject"].endswith(f".ledger.{task_id}.orchestrator.o-1")
    assert events[0]["time"].endswith("Z")
    assert events[0]["seq"] < events[1]["seq"] < events[2]["seq"]


async def test_the_list_is_paged_over_known_and_waiting_tasks(
    bridge: RunningBridge, fleet: Counterpart
) -> None:
    ids = [(await submitted(bridge))["task_id"] for _ in range(5)]
    for task_id in ids[:2]:
        await fleet.succeed(task_id, await fleet.take(task_id), "ok")

    async def all_pages(**query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            given = {"limit": 2, **query} | ({"cursor": cursor} if cursor else {})
            page = (await bridge.http.get("/api/v1/tasks", params=given)).json()
            found += page["tasks"]
            cursor = page["next"]
            if cursor is None:
                return found

    async def both_known() -> bool:
        return len(await all_pages(state="succeeded")) == 2

    await eventually(both_known)
    tasks = await all_pages()
    assert sorted(task["task_id"] for task in tasks) == sorted(ids)
    assert [task["state"] for task in tasks] == ["succeeded"] * 2 + ["queued"] * 3
    assert [task["task_id"] for task in await all_pages(state="queued")] == ids[2:]
    assert await all_pages(kind="chat") == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"kind": "never-heard-of"}', 404, "unknown_kind"),
        (b'{"kind": "echo", "payload": ', 400, "malformed"),
        (b"\x81\xa4kind", 400, "malformed"),
        (b"[1]", 400, "malformed"),
        (b"", 400, "malformed"),
        (b'{"payload": 1}', 400, "malformed"),
        (b'{"kind": 7}', 400, "malformed"),
        (b'{"kind": "a.b"}', 400, "invalid_name"),
        (b'{"kind": "echo", "priority": 11}', 400, "invalid_task"),
        (b'{"kind": "echo", "deadline_s": -1}', 400, "invalid_task"),
        (b'{"kind": "echo", "priorty": 1}', 400, "invalid_task"),
        (b'{"kind": "echo", "payload": NaN}', 400, "malformed"),
        (b'{"kind": "echo", "payload": 1e999}', 400, "malformed"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_bad_input_is_refused_in_words(
    bridge: RunningBridge, body: bytes, status: int, code: str
) -> None:
    answer = await bridge.http.post("/api/v1/tasks", content=body)
    assert_problem(answer, status, code)
    assert (await bridge.http.get("/api/v1/queues")).json()["waiting"] == 0


async def test_a_field_of_the_wrong_type_is_named(bridge: RunningBridge) -> None:
    answer = await bridge.http.post("/api/v1/tasks", json=ECHO | {"priority": "high"})
    assert "priority" in assert_problem(answer, 400, "malformed")["detail"]


@pytest.mark.parametrize("path", ["", "/events", "/stream"])
async def test_an_unknown_task_is_not_found(bridge: RunningBridge, path: str) -> None:
    assert_problem(await bridge.http.get(f"/api/v1/tasks/nobody-knows{path}"), 404, "not_found")
    assert_problem(await bridge.http.get(f"/api/v1/tasks/bad.name{path}"), 400, "invalid_name")


@pytest.mark.parametrize("query", ["state=nonsense", "limit=0", "limit=many", "cursor=zz", "kind=a.b"])
async def test_a_list_that_cannot_be_is_refused(bridge: RunningBridge, query: str) -> None:
    assert (await bridge.http.get(f"/api/v1/tasks?{query}")).status_code == 400


async def test_the_same_key_gives_the_same_task_and_another_body_a_conflict(bridge: RunningBridge) -> None:
    header = {"Idempotency-Key": "order-7"}
    first = await bridge.http.post("/api/v1/tasks", json=ECHO, headers=header)
    again = await bridge.http.post("/api/v1/tasks", json=ECHO | {"key": "order-7"})
    assert first.json()["task_id"] == again.json()["task_id"]
    other = await bridge.http.post("/api/v1/tasks", json=ECHO | {"payload": "else"}, headers=header)
    assert_problem(other, 409, "idempotency_conflict")
    both = await bridge.http.post("/api/v1/tasks", json=ECHO | {"key": "x"}, headers=header)
    assert_problem(both, 400, "invalid_task")


async def test_a_full_queue_says_when_to_try_again(
    settings: NatsSettings, connection: Connection, subjects: Subjects
) -> None:
    await ensure_streams(connection, subjects, StreamLimits(tasks_messages=1))
    fleet = Counterpart(connection, subjects)
    await fleet.start()
    await fleet.answer_agents()
    async with RunningBridge(settings, subjects.fleet) as bridge:
        await submitted(bridge)
        answer = await bridge.http.post("/api/v1/tasks", json=ECHO)
        assert_problem(answer, 429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1


async def test_cancel_without_an_orchestrator_says_what_is_missing(bridge: RunningBridge) -> None:
    task_id = (await submitted(bridge))["task_id"]
    assert_problem(await bridge.http.post(f"/api/v1/tasks/{task_id}/cancel"), 503, "nobody_answers")


async def test_agents_and_queues(bridge: RunningBridge, fleet: Counterpart) -> None:
    await submitted(bridge, priority=2)
    await submitted(bridge)

    async def known() -> bool:
        agents = (await bridge.http.get("/api/v1/agents")).json()["agents"]
        queues = (await bridge.http.get("/api/v1/queues")).json()
        return bool(agents) and queues["waiting"] == 2

    await eventually(known)
    (agent,) = (await bridge.http.get("/api/v1/agents")).json()["agents"]
    wanted = {"agent_id", "state", "kinds", "slots", "in_flight", "last_seen_s"}
    assert wanted <= set(agent)
    assert (agent["agent_id"], agent["state"], agent["slots"]) == ("a-1", "online", 4)
    queues = (await bridge.http.get("/api/v1/queues")).json()["queues"]
    assert queues == [
        {"kind": "echo", "priority": 2, "waiting": 1},
        {"kind": "echo", "priority": 5, "waiting": 1},
    ]


async def test_a_task_as_server_sent_events(bridge: RunningBridge, fleet: Counterpart) -> None:
    task_id = (await submitted(bridge))["task_id"]
    epoch = await fleet.take(task_id)
    await fleet.emit(task_id, 1, 0, "first ")
    text, last_id, ends = "", "", 0
    async with bridge.http.stream("GET", f"/api/v1/tasks/{task_id}/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                last_id = line[4:]
            if line.startswith("data: "):
                pieces = [a["text"] for a in json.loads(line[6:]).get("attempts", [])]
                text += "".join(pieces)
                if "first " in pieces:
                    await fleet.emit(task_id, 1, 1, "second")
                if text == "first second" and pieces:
                    await fleet.succeed(task_id, epoch, "ok")
            ends += line == "event: end"
    assert (text, ends) == ("first second", 1)
    answer = await bridge.http.get(f"/api/v1/tasks/{task_id}/stream", headers={"Last-Event-ID": last_id})
    assert "second" not in answer.text, "what was received before is not sent again"


async def test_openapi_lists_the_routes_and_no_page_loads_from_elsewhere(bridge: RunningBridge) -> None:
    paths = (await bridge.http.get("/api/v1/openapi.json")).json()["paths"]
    assert "/api/v1/tasks/{task_id}/cancel" in paths
    for path in ("/docs", "/redoc", "/nothing-here"):
        assert_problem(await bridge.http.get(path), 404, "not_found")
