"""Who may come in: the page's own origin on this machine, and elsewhere only with the token."""

from __future__ import annotations

import asyncio
import socket

import pytest
from websockets.exceptions import InvalidStatus

from outrider.broker.config import NatsSettings
from outrider.broker.errors import NatsUnavailable, PortTaken, Refused
from outrider.broker.subjects import Subjects
from outrider.ui import serve
from tests.integration.client.counterpart import Counterpart
from tests.integration.ui.running import RunningBridge

ECHO = {"kind": "echo", "payload": 1}
TOKEN = "a-token-that-is-long-enough"


async def test_every_answer_carries_the_strict_policy(bridge: RunningBridge) -> None:
    for path in ("/", "/admin", "/static/js/client.js", "/api/v1/agents", "/nothing"):
        headers = (await bridge.http.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Cookie": "a=b"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_another_sites_page_cannot_act(bridge: RunningBridge, headers: dict[str, str]) -> None:
    answer = await bridge.http.post("/api/v1/tasks", json=ECHO, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")


async def test_the_pages_own_origin_and_plain_scripts_may_act(bridge: RunningBridge) -> None:
    own = await bridge.http.post("/api/v1/tasks", json=ECHO, headers={"Origin": bridge.address})
    assert own.status_code == 201
    assert (await bridge.http.post("/api/v1/tasks", json=ECHO)).status_code == 201


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", None])
async def test_another_sites_page_cannot_listen(bridge: RunningBridge, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with bridge.viewer(origin=origin):
            pass
    assert refused.value.response.status_code == 403


async def test_a_name_that_was_pointed_here_is_not_served(bridge: RunningBridge) -> None:
    headers = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    for answer in (
        await bridge.http.get("/api/v1/agents", headers=headers),
        await bridge.http.post("/api/v1/tasks", json=ECHO, headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "host_not_allowed")


async def test_with_a_token_nothing_is_told_without_it(
    settings: NatsSettings, subjects: Subjects, fleet: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_UI_TOKEN", TOKEN)
    async with RunningBridge(settings, subjects.fleet) as bridge:
        http = bridge.http
        assert (await http.get("/api/v1/agents")).status_code == 401
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/healthz")).status_code == 200
        page = await http.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        with pytest.raises(InvalidStatus):
            async with bridge.viewer():
                pass
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert (await http.post("/api/v1/tasks", json=ECHO, headers=bearer)).status_code == 201

        wrong = await http.post("/login", data={"token": "guess"}, headers={"Origin": bridge.address})
        assert wrong.status_code == 403
        assert "set-cookie" not in wrong.headers
        right = await http.post("/login", data={"token": TOKEN}, headers={"Origin": bridge.address})
        cookie = right.headers["set-cookie"]
        assert right.status_code == 303
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        held = {"Cookie": cookie.split(";")[0]}
        assert (await http.get("/api/v1/agents", headers=held)).status_code == 200
        async with bridge.viewer(additional_headers=held) as viewer:
            assert (await viewer.hear())["op"] == "hello"


async def test_an_open_address_without_a_token_is_refused(settings: NatsSettings) -> None:
    with pytest.raises(Refused, match=r"0\.0\.0\.0"):
        await serve(settings, "f", "0.0.0.0", 0, asyncio.Event(), print)


async def test_a_taken_port_is_named(settings: NatsSettings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            await serve(settings, "f", "127.0.0.1", port, asyncio.Event(), print)


async def test_without_nats_it_says_so(subjects: Subjects) -> None:
    with pytest.raises(NatsUnavailable, match=r"127\.0\.0\.1:1"):
        await serve(
            NatsSettings(url="nats://127.0.0.1:1", source="test"), "f", "127.0.0.1", 0, asyncio.Event(), print
        )
