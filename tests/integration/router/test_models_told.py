"""What is said of the fleet's models: replays of a version that is elsewhere, and what routers log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from outrider import router
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.router.decisions import Decision, Outcome
from outrider.router.flat_forest import ModelRefused
from outrider.router.fleet_models import writing
from tests.integration.router.test_models import ROWS, SHIPPED, Site
from tests.integration.router.test_service import ENV, running
from tests.support.waiting import eventually


@pytest.fixture
async def site(settings: NatsSettings, connection: Connection, subjects: Subjects, tmp_path: Path) -> Site:
    await ensure_streams(connection, subjects)
    site = Site(settings, connection, subjects, tmp_path)
    await site.history()
    return site


async def test_a_replay_asks_a_model_that_is_elsewhere_and_keeps_nothing_of_it(site: Site) -> None:
    version = await site.train()

    async def replay(model: str, env: Mapping[str, str]) -> dict[str, Any]:
        return await router.replay(
            site.settings, site.subjects.fleet, site.elsewhere, 3600.0, model=model, env=env
        )

    for model in (version, "serving"):
        found = await replay(model, site.env_elsewhere)
        assert (found["model"], found["model_version"], found["decisions"]) == (model, version, ROWS)
    with pytest.raises(ModelRefused, match="no model key here") as refused:
        await replay(version, ENV)
    assert "OUTRIDER_MODEL_KEY" in refused.value.hint
    with pytest.raises(ModelRefused, match=f"no such version: nosuch; known: {version}, shipped") as refused:
        await replay("nosuch", site.env_elsewhere)
    assert "outrider router models" in refused.value.hint
    async with writing(site.connection, site.subjects) as models:
        refusal = Decision(Outcome.REFUSED, version, "ledger-1-0", "not better")
        await models.decide(refusal, await models.last_decision_seq())
    with pytest.raises(ModelRefused, match="ledger-1-0 is not in the object store: it never served"):
        await replay("ledger-1-0", site.env_elsewhere)
    assert not (site.elsewhere / "router").exists()


async def test_every_router_logs_each_decision_with_its_reason_once_and_one_swap(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def count(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG)

    async def says(text: str, times: int = 1) -> None:
        async def said() -> bool:
            return count(text) >= times

        await eventually(said, what=f"{text!r} in the log {times} times")

    caplog.set_level(logging.INFO)
    async with (
        running(site.settings, site.subjects, site.here),
        running(site.settings, site.subjects, site.elsewhere, env=ENV),
    ):
        await says("now serving model seed-", 2)
        version = await site.train()
        await says(f"model {version} promoted (asked by ", 2)
        await says("is not taken over")
        await says(f"now serving model {version}")
        async with writing(site.connection, site.subjects) as models:
            refusal = Decision(Outcome.REFUSED, version, "ledger-1-0", "not better", by="somebody")
            await models.decide(refusal, await models.last_decision_seq())
        refused = "model ledger-1-0 refused (asked by somebody): not better"
        await says(refused, 2)
        await site.rollback()
        await says("model shipped rolled back (asked by ", 2)
        await says(f"now serving model {SHIPPED}", 3)
    assert (count(refused), count(f"now serving model {version}")) == (2, 1)
    assert (count(f"now serving model {SHIPPED}"), count("(asked by ")) == (3, 6)
    caplog.clear()
    await site.rollback(version)
    async with running(site.settings, site.subjects, site.here):
        await site.all_serve(version)
        await says("now serving model")
        await says(f"model {version} rolled back")
    assert (count("now serving model"), count(" shall serve")) == (1, 1)


async def test_a_model_that_is_not_taken_over_is_told_once_however_often_it_is_tried(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "outrider.router.model_keeping")
    version = await site.train()
    async with running(site.settings, site.subjects, site.elsewhere, env=ENV):

        async def tried_again() -> bool:
            return caplog.text.count("is not taken over") >= 2

        await eventually(tried_again, 30, what="another try")
    told = [r for r in caplog.records if r.levelno > logging.DEBUG and version in r.getMessage()]
    assert [r.levelname for r in told] == ["INFO", "ERROR"], caplog.text
