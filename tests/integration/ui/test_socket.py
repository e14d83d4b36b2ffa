"""The socket: first everything, then what changed, then on from where it was; nobody waits for anybody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from outrider.broker.codec import encode
from outrider.broker.messages import Heartbeat
from outrider.broker.server import PrivateServer
from outrider.broker.states import AgentState
from outrider.ledger.entries import Member
from tests.integration.client.counterpart import Counterpart
from tests.integration.ui.running import RunningBridge, Viewer
from tests.support.waiting import eventually

Message = dict[str, Any]


async def new_task(bridge: RunningBridge) -> str:
    answer = await bridge.http.post("/api/v1/tasks", json={"kind": "echo", "payload": "hi"})
    return str(answer.json()["task_id"])


async def tell_member(fleet: Counterpart, entry: Member) -> None:
    await fleet.appender.append(fleet.subjects.member(entry.agent_id), encode(entry))


def row(viewer: Viewer, topic: str, key: str) -> Message:
    found: Message = viewer.rows.get(topic, {}).get(key, {})
    return found


async def test_hello_then_a_snapshot_then_only_changes(bridge: RunningBridge, fleet: Counterpart) -> None:
    async with bridge.viewer() as viewer:
        hello = await viewer.hear()
        assert hello["op"] == "hello"
        assert {"epoch", "seq", "now", "hz", "nats", "version", "fleet"} <= set(hello)
        assert (hello["nats"], hello["fleet"]) == ("up", fleet.subjects.fleet)
        await viewer.say(op="sub", topic="agents")
        await viewer.until(lambda m: row(viewer, "agents", "a-1").get("state") == "online")
        await tell_member(fleet, Member("a-2", "joined", "i", ("chat",), 3))
        delta = await viewer.until(lambda m: "a-2" in viewer.rows["agents"])
        assert delta["op"] == "delta"
        assert list(delta["set"]) == ["a-2"]


async def test_a_task_is_followed_through_a_lost_attempt(bridge: RunningBridge, fleet: Counterpart) -> None:
    task_id = await new_task(bridge)
    async with bridge.viewer() as viewer:
        await viewer.say(op="sub", topic="tasks")
        epoch = await fleet.take(task_id)
        await viewer.until(lambda m: row(viewer, "tasks", task_id).get("state") == "assigned")
        beat = Heartbeat("a-1", "i-1", AgentState.ONLINE, 4, running=(epoch,))
        await fleet.connection.publish(fleet.subjects.agent("a-1", "heartbeat"), encode(beat))
        await viewer.until(lambda m: row(viewer, "tasks", task_id).get("state") == "running")
        epoch = await fleet.lose(task_id, epoch)
        await viewer.until(lambda m: row(viewer, "tasks", task_id).get("state") == "backing_off")
        epoch = await fleet.assign(task_id, agent_id="a-2", attempt=2, epoch=epoch)
        await viewer.until(lambda m: row(viewer, "tasks", task_id).get("agent") == "a-2")
        await fleet.succeed(task_id, epoch, "ok", agent_id="a-2", attempt=2)
        await viewer.until(lambda m: row(viewer, "tasks", task_id).get("state") == "succeeded")
        assert row(viewer, "tasks", task_id)["attempts"] == 2


async def test_a_streamed_answer_comes_whole_to_a_late_viewer_and_goes_on_after_a_break(
    bridge: RunningBridge, fleet: Counterpart
) -> None:
    task_id = await new_task(bridge)
    await fleet.take(task_id)
    await fleet.emit(task_id, 1, 0, "written before ")
    topic = f"task:{task_id}"

    def text_of(message: Message) -> str:
        return "".join(a["text"] for a in message.get("attempts", []))

    async with bridge.viewer() as viewer:
        epoch = (await viewer.hear())["epoch"]
        await viewer.say(op="sub", topic=topic)
        first = await viewer.until(lambda m: m.get("topic") == topic)
        assert first["op"] == "snapshot"
        got = text_of(first) or text_of(await viewer.until(text_of))
        assert got == "written before "
        await fleet.emit(task_id, 1, 1, "and after")
        assert text_of(await viewer.until(text_of)) == "and after"
    await fleet.emit(task_id, 1, 2, ", and while away")
    async with bridge.viewer() as viewer:
        chars = {"1": len("written before and after")}
        await viewer.say(op="sub", topic=topic, since={"epoch": epoch, "events": 1, "chars": chars})
        message = await viewer.until(text_of)
        assert (message["op"], text_of(message)) == ("delta", ", and while away")
        assert message.get("events", []) == []


async def test_a_viewer_goes_on_where_it_was(bridge: RunningBridge, fleet: Counterpart) -> None:
    async with bridge.viewer() as viewer:
        epoch = (await viewer.hear())["epoch"]
        await viewer.say(op="sub", topic="agents")
        await viewer.until(lambda m: "a-1" in viewer.rows.get("agents", {}))
        seq = viewer.last["agents"]
    await tell_member(fleet, Member("a-2", "joined", "i", ("chat",), 3))
    async with bridge.viewer() as viewer:
        viewer.rows["agents"], viewer.last["agents"] = {}, seq
        await viewer.say(op="sub", topic="agents", since={"epoch": epoch, "seq": seq})
        delta = await viewer.until(lambda m: m.get("topic") == "agents" and "a-2" in m.get("set", {}))
        assert "a-1" not in delta["set"]
    async with bridge.viewer() as viewer:
        await viewer.say(op="sub", topic="agents", since={"epoch": "another run", "seq": seq})
        assert (await viewer.until(lambda m: m.get("topic") == "agents"))["op"] == "snapshot"


async def test_numbers_move_each_second(bridge: RunningBridge, fleet: Counterpart) -> None:
    async with bridge.viewer() as viewer:
        await viewer.say(op="sub", topic="stats")
        task_id = await new_task(bridge)
        await viewer.until(lambda m: row(viewer, "stats", "now").get("waiting") == 1)
        await fleet.succeed(task_id, await fleet.take(task_id), "ok")
        await viewer.until(lambda m: row(viewer, "stats", "now").get("finished_per_s", 0) > 0)
        now = row(viewer, "stats", "now")
        assert now["waiting"] == 0
        assert now["p50_s"] > 0
        assert any(
            point.get("finished", 0) > 0 for key, point in viewer.rows["stats"].items() if key != "now"
        )


async def test_mistakes_are_answered_and_harm_nobody(bridge: RunningBridge) -> None:
    async with bridge.viewer() as viewer:
        mistakes = [
            "not json",
            "[1]",
            '{"op":"dance"}',
            '{"op":"sub","topic":"task:bad id"}',
            '{"op":"sub","topic":"x"}',
        ]
        for text in mistakes:
            await viewer.socket.send(text)
            error = await viewer.op("error")
            assert error["code"]
            assert error["message"]
        await viewer.say(op="sub", topic="agents")
        await viewer.until(lambda m: m.get("topic") == "agents")
    async with bridge.viewer() as viewer:
        for _ in range(20):
            await viewer.socket.send("nonsense")
        with pytest.raises(ConnectionClosed) as closed:
            await viewer.until(lambda m: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400


async def test_a_viewer_that_does_not_read_holds_up_nobody(bridge: RunningBridge, fleet: Counterpart) -> None:
    task_id = await new_task(bridge)
    await fleet.take(task_id)
    topic = f"task:{task_id}"
    async with bridge.viewer(max_queue=1, max_size=None) as asleep, bridge.viewer(max_size=None) as awake:
        for viewer in (asleep, awake):
            await viewer.say(op="sub", topic=topic)
        await awake.until(lambda m: m.get("topic") == topic)
        total = 0
        for offset in range(40):
            await fleet.emit(task_id, 1, offset, "x" * 60_000)
        while total < 1_900_000:
            message = await awake.hear()
            total += sum(len(a["text"]) for a in message.get("attempts", []))
        late = 0
        async with asyncio.timeout(20):
            while late < total:
                message = json.loads(await asleep.socket.recv())
                late += sum(len(a["text"]) for a in message.get("attempts", []))
        assert late == total


async def test_lost_nats_is_told_apart_from_a_lost_bridge(
    bridge: RunningBridge, server: PrivateServer
) -> None:
    async with bridge.viewer() as viewer:
        await viewer.say(op="sub", topic="agents")
        await viewer.until(lambda m: m.get("topic") == "agents")
        server.kill()
        assert (await viewer.op("nats"))["state"] == "down"
        answer = await bridge.http.get("/readyz")
        assert answer.status_code == 503
        assert (await bridge.http.get("/healthz")).status_code == 200
        failed = [check["check"] for check in answer.json()["checks"] if not check["ok"]]
        assert "nats_connected" in failed
        await server.start()
        assert (await viewer.op("nats"))["state"] == "up"
        await eventually(lambda: is_ready(bridge), what="readiness")


async def is_ready(bridge: RunningBridge) -> bool:
    return (await bridge.http.get("/readyz")).status_code == 200


async def test_history_is_there_for_a_bridge_that_starts_later(
    bridge: RunningBridge, fleet: Counterpart
) -> None:
    task_id = await new_task(bridge)
    await fleet.succeed(task_id, await fleet.take(task_id), "ok")
    async with RunningBridge(bridge._settings, fleet.subjects.fleet) as later, later.viewer() as viewer:
        await viewer.say(op="sub", topic="tasks")
        await viewer.until(lambda m: row(viewer, "tasks", task_id).get("state") == "succeeded")
