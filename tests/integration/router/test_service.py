"""The router as a service on a real nats-server: answers, learns, swaps models, survives nonsense."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from outrider import router
from outrider.broker.codec import decode, encode, load
from outrider.broker.config import BadSettings, NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import error_from_wire
from outrider.broker.facts import TaskFacts
from outrider.broker.outcomes import Succeeded
from outrider.broker.pipeline import Appender
from outrider.broker.routing import RouteAgent, RouteAnswer, RouteReason, RouteRequest, RouteTask
from outrider.broker.server import PrivateServer
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned
from outrider.router.artifact import ModelStore
from outrider.router.dataset import table_of
from outrider.router.seed_data import seed_rows
from outrider.router.training import fit
from tests.support.waiting import eventually

ENV = {"OUTRIDER_ROUTER_EXPLORE": "0", "OUTRIDER_ROUTER_RELOAD_S": "0.05"}
AGENTS = (RouteAgent("fast", 4, 0), RouteAgent("slow", 4, 0))


@asynccontextmanager
async def running(
    settings: NatsSettings,
    subjects: Subjects,
    state: Path,
    policy: str = "model",
    env: Mapping[str, str] = ENV,
) -> AsyncIterator[str]:
    """A router until the end of the block; gives what it said when it was ready."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            router.serve(settings, subjects.fleet, state, policy, stop, ready.set_result, env=env)
        )
        yield await asyncio.wait_for(ready, 10)
        stop.set()


def request_for(*task_ids: str, agents: tuple[RouteAgent, ...] = AGENTS) -> RouteRequest:
    facts = TaskFacts(300, 260, 1, 64)
    return RouteRequest(tuple(RouteTask(task_id, "chat", 5, 1, facts) for task_id in task_ids), agents)


async def ask(connection: Connection, subjects: Subjects, request: RouteRequest) -> RouteAnswer:
    message = await connection.request(subjects.route, encode(request))
    return decode(RouteAnswer, message.data)


class LedgerWriter:
    """Appends what orchestrator and agents would."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self._subjects = subjects
        self._appender = Appender(connection)

    async def start(self) -> LedgerWriter:
        await self._appender.start()
        return self

    async def run(self, agent: str, seconds: float, chars: int = 260, p50_s: float | None = None) -> None:
        task_id, s = uuid.uuid4().hex, self._subjects
        facts = TaskFacts(chars + 40, chars, 1, 64)
        reason = RouteReason.MODEL
        assigned = Assigned(task_id, 1, agent, "i", 0, "chat", 5, reason, facts=facts, slots=4, p50_s=p50_s)
        epoch = await self._appender.append(s.ledger_orchestrator(task_id, "o1"), encode(assigned))
        outcome = Succeeded(task_id, 1, agent, epoch, service_s=seconds)
        await self._appender.append(s.ledger_agent(task_id, agent), encode(outcome))


async def test_a_batch_is_answered_in_message_pack_and_in_json(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    await ensure_streams(connection, subjects)
    async with running(settings, subjects, tmp_path) as said:
        assert said.startswith("router seed-")
        answer = await ask(connection, subjects, request_for("t1", "t2", "t3"))
        assert [choice.task_id for choice in answer.choices] == ["t1", "t2", "t3"]
        assert said.endswith(answer.model)
        body = b'{"tasks": [{"task_id": "t1", "kind": "chat", "priority": 5, "attempt": 1, "facts": {}}],'
        body += b'"agents": [{"agent_id": "a", "slots": 1, "in_flight": 0}]}'
        told = json.loads((await connection.request(subjects.route, body)).data)
        assert told["choices"][0]["agent_id"] == "a"
        assert told["choices"][0]["reason"] == "only_candidate"


async def test_nats_micro_shows_the_router(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    async with running(settings, subjects, tmp_path):
        info = json.loads((await connection.request("$SRV.INFO.outrider-router")).data)
        assert [(e["subject"], e["queue_group"]) for e in info["endpoints"]] == [(subjects.route, "router")]


async def test_nonsense_gets_a_clear_error_and_the_next_request_an_answer(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    nonsense = [
        b"",
        b"\xc1\xff",
        b"[1, 2]",
        b'{"tasks": 5, "agents": []}',
        b'{"tasks": [{}], "agents": []}',
        b'{"tasks": [], "agents": [{"agent_id": "a", "slots": "many", "in_flight": 0}]}',
        b'{"tasks": [], "agents": [{"agent_id": "a", "slots": -1, "in_flight": 0}]}',
        encode(request_for("same", "same")),
        b"[" * 5000,
    ]
    async with running(settings, subjects, tmp_path):
        for body in nonsense:
            error = error_from_wire(load((await connection.request(subjects.route, body)).data))
            assert error is not None, body
            assert error.message
            assert "internal" not in error.message, body
        assert len((await ask(connection, subjects, request_for("t1"))).choices) == 1


async def test_what_the_ledger_says_moves_the_choice_and_a_restart_knows_it(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    await ensure_streams(connection, subjects)
    writer = await LedgerWriter(connection, subjects).start()

    async def learned() -> bool:
        (choice,) = (await ask(connection, subjects, request_for("t1"))).choices
        slow = next(c for c in choice.candidates if c.agent_id == "slow")
        return (choice.agent_id, choice.reason) == ("fast", RouteReason.MODEL) and slow.p50_s > 4.0

    async with running(settings, subjects, tmp_path):
        assert (await ask(connection, subjects, request_for("t1"))).choices[0].reason is RouteReason.COLD
        for _ in range(5):
            await writer.run("fast", 0.5)
            await writer.run("slow", 9.0)
        await eventually(learned, what="the router learning from the ledger")
    async with running(settings, subjects, tmp_path):
        await eventually(learned, what="the restarted router knowing the same")


async def test_the_router_answers_before_there_is_a_ledger(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    async with running(settings, subjects, tmp_path):
        assert (await ask(connection, subjects, request_for("t1"))).choices
        await ensure_streams(connection, subjects)
        writer = await LedgerWriter(connection, subjects).start()
        await writer.run("fast", 0.5)

        async def learned() -> bool:
            return (await ask(connection, subjects, request_for("t1"))).choices[0].reason is RouteReason.MODEL

        await eventually(learned, what="following a ledger that came later")


async def test_a_promoted_model_is_swapped_in_and_a_damaged_one_is_not(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    store = ModelStore(tmp_path)
    table = table_of(list(seed_rows(fleets=1)))
    first = fit(table, trees=4, depth=3)
    second = fit(table, trees=5, depth=3)
    good = store.save(first.forest, first.estimator, {}, "good")
    damaged = store.save(second.forest, second.estimator, {}, "damaged")
    (store.folder(damaged) / "forest.npz").write_bytes(b"damaged")

    async def serving() -> str:
        return (await ask(connection, subjects, request_for("t1"))).model

    async with running(settings, subjects, tmp_path):
        assert (await serving()).startswith("seed-")
        store.promote(damaged)
        store.promote(good)

        async def swapped() -> bool:
            return await serving() == good

        await eventually(swapped, what="the swap")
        store.promote(damaged)
        seen = [await serving() for _ in range(50)]
        assert set(seen) == {good}
    async with running(settings, subjects, tmp_path) as said:
        assert said.startswith("router seed-"), "a damaged model at the start means the shipped one"


async def test_two_replicas_share_the_work_and_agree(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    async with running(settings, subjects, tmp_path), running(settings, subjects, tmp_path):
        answers = [await ask(connection, subjects, request_for("t1", "t2")) for _ in range(20)]
        assert all(answer == answers[0] for answer in answers)


async def test_the_router_comes_back_after_its_server_was_killed(
    server: PrivateServer, settings: NatsSettings, subjects: Subjects, tmp_path: Path
) -> None:
    async with running(settings, subjects, tmp_path):
        server.kill()
        await server.start()
        async with await Connection.open(settings, "asker") as asker:

            async def answers() -> Any:
                try:
                    return (await ask(asker, subjects, request_for("t1"))).choices
                except Exception:  # noqa: BLE001 - nobody answers until it is back
                    return None

            assert await eventually(answers, what="an answer after the restart")


async def test_the_random_policy_names_itself(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    async with running(settings, subjects, tmp_path, policy="random"):
        assert (await ask(connection, subjects, request_for("t1"))).model == "random"


async def test_an_unknown_policy_is_refused(
    settings: NatsSettings, subjects: Subjects, tmp_path: Path
) -> None:
    with pytest.raises(BadSettings, match="best"):
        await router.serve(settings, subjects.fleet, tmp_path, "best", asyncio.Event(), print)


async def test_the_router_stops_at_once_whenever_it_is_asked_to(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    async with asyncio.timeout(40):
        for number in range(20):
            if number == 10:
                await ensure_streams(connection, subjects)
            async with running(settings, subjects, tmp_path):
                pass


async def test_training_reads_the_ledger_and_tells_what_it_did(
    settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path
) -> None:
    await ensure_streams(connection, subjects)
    report = await router.train(settings, subjects.fleet, tmp_path)
    assert (report["promoted"], report["rows"]) == (False, 0)
    writer = await LedgerWriter(connection, subjects).start()
    for number in range(300):
        chars = (20, 200, 2000)[number % 3]
        await writer.run("fast" if number % 2 else "slow", 3.0 if chars == 200 else 0.3, chars)
    report = await router.train(settings, subjects.fleet, tmp_path)
    assert report["rows"] == 300
    assert report["promoted"], report["why"]
    assert router.show(tmp_path)["version"] == report["version"]
