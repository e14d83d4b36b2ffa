"""Estimates over REST, with a real orchestrator behind the bridge."""

from __future__ import annotations

from tests.integration.orchestrator.conftest import Fleet
from tests.integration.ui.running import RunningBridge

ECHO = {"kind": "echo", "payload": {"text": "hi"}}


async def test_an_estimate_takes_a_submission_and_submits_nothing(
    served: RunningBridge, whole: Fleet
) -> None:
    await whole.agent("a1", slots=2)
    answer = await served.http.post("/api/v1/estimate", json=ECHO | {"deadline_s": 60, "priority": 3})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["kind"], body["priority"], body["can_meet"], body["warning"]) == ("echo", 3, "yes", None)
    assert (body["agents"], body["slots"], body["agent"], body["ahead"]) == (1, 2, "a1", 0)
    assert 0 < body["p50_s"] <= body["p90_s"]
    assert (await served.http.get("/api/v1/queues")).json()["waiting"] == 0
    schema = (await served.http.get("/api/v1/openapi.json")).json()
    assert "/api/v1/estimate" in schema["paths"]


async def test_a_submission_may_ask_for_it_or_be_refused_by_it(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a1", slots=1)
    late = ECHO | {"deadline_s": 0.01}
    refused = await served.http.post("/api/v1/tasks", json=late | {"refuse_late": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "refused")
    assert "cannot be met" in refused.json()["detail"]
    flagged = await served.http.post("/api/v1/tasks", json=late | {"eta": True})
    assert flagged.status_code == 201
    assert flagged.json()["eta"]["can_meet"] == "no"
    assert "cannot be met" in flagged.json()["warning"]
    assert "eta" not in (await served.http.post("/api/v1/tasks", json=ECHO)).json()


async def test_what_makes_no_sense_is_a_problem(served: RunningBridge, whole: Fleet) -> None:
    await whole.agent("a1")
    for body, status in (({"kind": "paint"}, 404), ({"kind": "echo", "priority": 12}, 400), ({}, 400)):
        assert (await served.http.post("/api/v1/estimate", json=body)).status_code == status
