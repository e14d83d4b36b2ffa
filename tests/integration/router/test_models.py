"""The fleet's models on a real nats-server: trained, taken over by every replica, refused, rolled back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from outrider import router
from outrider.broker.bucket import Bucket
from outrider.broker.config import BadSettings, NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import InvalidName, OutriderError, Refused
from outrider.broker.pipeline import Appender
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.router.artifact import FOREST, ModelStore
from outrider.router.decisions import Decision, Outcome, written
from outrider.router.flat_forest import ModelRefused
from outrider.router.fleet_models import writing
from outrider.router.signing import KeyProblem, signing_key
from tests.integration.router.test_service import ENV, LedgerWriter, ask, request_for, running
from tests.support.waiting import eventually

ROWS = 240
SHIPPED = "seed-"


class Site:
    """One fleet with a history, and state folders of two machines; the first holds the model key."""

    def __init__(
        self, settings: NatsSettings, connection: Connection, subjects: Subjects, path: Path
    ) -> None:
        self.settings, self.connection, self.subjects = settings, connection, subjects
        self.here, self.elsewhere = path / "here", path / "elsewhere"
        signing_key(ModelStore(self.here).keys)
        self.env_elsewhere = {**ENV, "OUTRIDER_MODEL_KEY": router.key(self.here)}

    async def history(self, rows: int = ROWS, p50_s: float | None = None) -> None:
        """Services that follow the prompt's length by a rule that no shipped model knows."""
        writer = await LedgerWriter(self.connection, self.subjects).start()
        for number in range(rows):
            chars = (20, 200, 2000)[number % 3]
            await writer.run("fast" if number % 2 else "slow", 3.0 if chars == 200 else 0.3, chars, p50_s)

    async def train(self) -> str:
        report = await router.train(self.settings, self.subjects.fleet, self.here, env=ENV)
        assert report["promoted"], report["why"]
        return str(report["version"])

    async def rollback(self, to: str | None = None) -> str:
        report = await router.rollback(self.settings, self.subjects.fleet, self.here, to)
        return str(report["serves"])

    async def seen(self, count: int = 30) -> set[str]:
        answers = [await ask(self.connection, self.subjects, request_for("t1")) for _ in range(count)]
        return {answer.model for answer in answers}

    async def all_serve(self, version: str) -> None:
        async def do_they() -> bool:
            return all(model.startswith(version) for model in await self.seen())

        await eventually(do_they, what=f"every replica serving {version}")

    async def decisions(self) -> list[dict[str, object]]:
        found = await router.models(self.settings, self.subjects.fleet)
        return list(found["decisions"])


@pytest.fixture
async def site(settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path) -> Site:
    await ensure_streams(connection, subjects)
    site = Site(settings, connection, subjects, tmp_path)
    await site.history()
    return site


@asynccontextmanager
async def steady_requests(site: Site) -> AsyncIterator[Counter[str]]:
    """A request every 10 ms until the end of the block; counts the models that answered, and the losses."""
    seen: Counter[str] = Counter()
    stop = asyncio.Event()

    async def flow() -> None:
        while not stop.is_set():
            try:
                answer = await ask(site.connection, site.subjects, request_for("t1", "t2"))
                seen[answer.model if len(answer.choices) == 2 else "incomplete"] += 1
            except OutriderError as error:
                seen[f"lost: {error}"] += 1
            try:
                await asyncio.wait_for(stop.wait(), 0.01)
            except TimeoutError:
                continue

    async with asyncio.TaskGroup() as group:
        group.create_task(flow())
        yield seen
        stop.set()


async def test_two_machines_swap_and_go_back_while_requests_flow_and_none_is_lost(site: Site) -> None:
    async with (
        running(site.settings, site.subjects, site.here),
        running(site.settings, site.subjects, site.elsewhere, env=site.env_elsewhere),
        steady_requests(site) as seen,
    ):
        await site.all_serve(SHIPPED)
        version = await site.train()
        await site.all_serve(version)
        assert router.show(site.here)["version"] == version
        assert not (site.elsewhere / "router" / "keys").exists(), "a key never travels"
        assert not (site.elsewhere / "router" / "models" / version / "estimator.joblib").exists()
        assert await site.rollback() == "shipped"
        await site.all_serve(SHIPPED)
        assert await site.rollback(version) == version
        await site.all_serve(version)
    assert not [what for what in seen if what.startswith(("lost", "incomplete"))]
    assert {model[:5] for model in seen} == {SHIPPED, "ledge"}
    assert min(seen.values()) > 5, "requests flowed while each of the models served"


async def test_a_replica_that_starts_later_or_with_a_damaged_copy_gets_the_model(site: Site) -> None:
    version = await site.train()
    async with running(site.settings, site.subjects, site.elsewhere, env=site.env_elsewhere):
        await site.all_serve(version)
    (ModelStore(site.elsewhere).folder(version) / FOREST).write_bytes(b"damaged")
    async with running(site.settings, site.subjects, site.elsewhere, env=site.env_elsewhere):
        await site.all_serve(version)


@pytest.mark.parametrize("key", ["", "of another fleet"])
async def test_a_replica_that_cannot_check_a_model_serves_what_it_has(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    env = dict(ENV)
    if key:
        signing_key(ModelStore(tmp_path / "other").keys)
        env["OUTRIDER_MODEL_KEY"] = router.key(tmp_path / "other")
    await site.train()
    async with running(site.settings, site.subjects, site.elsewhere, env=env):

        async def refused() -> bool:
            return "is not taken over" in caplog.text

        await eventually(refused, what="the refusal in the log")
        assert all(model.startswith(SHIPPED) for model in await site.seen())
    assert not (site.elsewhere / "router").exists(), "nothing of it was kept"


async def test_a_model_that_was_exchanged_in_the_object_store_is_refused(
    site: Site, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    version = await site.train()
    appender = Appender(connection)
    await appender.start()
    bucket = Bucket(connection, site.subjects.models_bucket)
    forest = (await bucket.get(f"{version}/{FOREST}")) or b""
    await bucket.put(appender, f"{version}/{FOREST}", forest[:-1] + bytes([forest[-1] ^ 1]))
    async with running(site.settings, site.subjects, site.elsewhere, env=site.env_elsewhere):

        async def refused() -> bool:
            return "does not have the hash" in caplog.text

        await eventually(refused, what="the refusal in the log")
        assert all(model.startswith(SHIPPED) for model in await site.seen())
    await site.rollback("shipped")
    with pytest.raises(ModelRefused, match="hash"):
        await site.rollback(version)


async def test_nonsense_among_the_decisions_changes_nothing(site: Site, connection: Connection) -> None:
    version = await site.train()
    appender = Appender(connection)
    await appender.start()
    async with running(site.settings, site.subjects, site.elsewhere, env=site.env_elsewhere):
        await site.all_serve(version)
        await appender.append(site.subjects.model_decision, b"\xc1nonsense")
        elsewhere = Decision(Outcome.PROMOTED, "ledger-1-0", "ledger-1-0")
        await appender.append(site.subjects.model_decision, written(elsewhere))
        assert await site.seen() == {version}
        await site.rollback("shipped")
        await site.all_serve(SHIPPED)


async def test_routers_train_by_themselves_once_it_is_due_and_only_one_of_them(site: Site) -> None:
    env = {**ENV, "OUTRIDER_ROUTER_RETRAIN_GAP_S": "0", "OUTRIDER_ROUTER_RETRAIN_S": "3600"}
    async with (
        running(site.settings, site.subjects, site.here, env=env),
        running(site.settings, site.subjects, site.here, env=env),
        running(site.settings, site.subjects, site.elsewhere, env={**env, **site.env_elsewhere}),
        steady_requests(site) as seen,
    ):

        async def decided() -> list[dict[str, object]] | None:
            return await site.decisions() or None

        (decision,) = await eventually(decided, 60, what="a training")
        assert (decision["outcome"], decision["trigger"]) == ("promoted", "schedule")
        assert decision["rows"] == ROWS
        await site.all_serve(str(decision["version"]))
        assert len(await site.decisions()) == 1
    assert not [what for what in seen if what.startswith(("lost", "incomplete"))]


async def test_predictions_that_go_wrong_start_a_training(site: Site) -> None:
    env = {**ENV, "OUTRIDER_ROUTER_RETRAIN_GAP_S": "0", "OUTRIDER_ROUTER_RETRAIN_S": "0"}
    async with running(site.settings, site.subjects, site.here, env=env):
        await site.history(p50_s=30.0)

        async def decided() -> list[dict[str, object]] | None:
            return await site.decisions() or None

        (decision,) = await eventually(decided, 60, what="a training")
        assert (decision["outcome"], decision["trigger"]) == ("promoted", "drift")
        await site.all_serve(str(decision["version"]))


async def test_a_damaged_key_stops_no_router(site: Site) -> None:
    (ModelStore(site.here).keys / "model.pub").write_bytes(b"\xff\xfe")
    env = {**ENV, "OUTRIDER_ROUTER_RETRAIN_GAP_S": "0"}
    async with running(site.settings, site.subjects, site.here, env=env):
        await site.all_serve(SHIPPED)
    with pytest.raises(KeyProblem, match="cannot be used"):
        await site.train()


async def test_one_training_at_a_time(site: Site, connection: Connection) -> None:
    async with writing(connection, site.subjects) as models:
        await models.create()
        async with models.training("somebody"):
            with pytest.raises(Refused, match="somebody trains already"):
                await site.train()
        await site.train()


async def test_one_key_signs_for_the_fleet(site: Site) -> None:
    await site.train()
    for env in (ENV, site.env_elsewhere):
        with pytest.raises(KeyProblem, match="cannot do that"):
            await router.train(site.settings, site.subjects.fleet, site.elsewhere, env=env)
    assert len(await site.decisions()) == 1


async def test_what_served_before_there_were_decisions_is_adopted_and_can_be_gone_back_to(site: Site) -> None:
    version = await site.train()
    await site.connection.api(f"STREAM.DELETE.OBJ_{site.subjects.models_bucket}")
    report = await router.train(site.settings, site.subjects.fleet, site.here, env=ENV)
    assert not report["promoted"], "it learned the same"
    listed = await router.models(site.settings, site.subjects.fleet)
    assert (listed["serves"], len(listed["decisions"])) == (version, 2)
    assert listed["models"][0]["is_stored"]
    assert "not better than" in listed["decisions"][-1]["why"]


async def test_without_decisions_there_is_nothing_to_list_or_to_go_back_to(site: Site) -> None:
    listed = await router.models(site.settings, site.subjects.fleet)
    assert listed["shipped"] == ModelStore(site.here).load(None).version
    assert (listed["serves"], listed["is_held"]) == ("shipped", False)
    assert (listed["models"], listed["decisions"]) == ([], [])
    with pytest.raises(Refused, match="the shipped one serves"):
        await site.rollback()
    version = await site.train()
    with pytest.raises(ModelRefused, match=f"no such version: ledger-9-9; known: {version}, shipped"):
        await site.rollback("ledger-9-9")
    with pytest.raises(InvalidName):
        await site.rollback("../etc")
    await site.rollback(listed["shipped"])
    assert (await router.models(site.settings, site.subjects.fleet))["is_held"]
    with pytest.raises(Refused, match="nothing to go back to"):
        await site.rollback()


async def test_a_key_that_is_none_is_a_setting_that_makes_no_sense(site: Site) -> None:
    with pytest.raises(BadSettings, match="OUTRIDER_MODEL_KEY"):
        await router.train(
            site.settings, site.subjects.fleet, site.here, env={"OUTRIDER_MODEL_KEY": "SAAsecret"}
        )
