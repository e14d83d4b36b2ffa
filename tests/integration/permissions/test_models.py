"""The router's user trains and keeps models, ops goes back, and nobody else can touch them."""

from __future__ import annotations

from pathlib import Path

from outrider import router
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.router.artifact import ModelStore
from outrider.router.decisions import Decision, Outcome
from outrider.router.fleet_models import writing
from tests.integration.permissions.conftest import ConnectAs
from tests.integration.permissions.test_work import FLEET, violations
from tests.support.production_server import ProductionServer
from tests.unit.router.test_artifact import TRAINED


async def test_training_listing_and_rollback_need_no_more_than_their_users_may(
    production: ProductionServer, connect_as: ConnectAs, tmp_path: Path
) -> None:
    subjects = Subjects(FLEET)
    await ensure_streams(await connect_as("orchestrator"), subjects)
    report = await router.train(production.settings("router"), FLEET, tmp_path, env={})
    assert "too few" in report["why"]
    store = ModelStore(tmp_path)
    version = store.save(TRAINED.forest, TRAINED.estimator, {}, "test")
    async with writing(await connect_as("router"), subjects) as models:
        await models.publish(version, store.files(version))
        seq = await models.last_decision_seq()
        await models.decide(Decision(Outcome.PROMOTED, version, version, "a test"), seq)
        await models.tidy({version})
    for user in ("router", "ops"):
        listed = await router.models(production.settings(user), FLEET)
        assert (listed["serves"], listed["models"][0]["is_stored"]) == (version, True)
    # Without a key of its own: where people sit, models are neither made nor served.
    elsewhere = tmp_path / "desk"
    await router.rollback(production.settings("ops"), FLEET, elsewhere, "shipped")
    back = await router.rollback(production.settings("ops"), FLEET, elsewhere, version)
    assert back["serves"] == version
    key = {"OUTRIDER_MODEL_KEY": router.key(tmp_path)}
    for user in ("router", "ops"):
        replayed = await router.replay(
            production.settings(user), FLEET, tmp_path / "third", 60.0, model=version, env=key
        )
        assert replayed["model_version"] == version
    assert violations(production) == []
