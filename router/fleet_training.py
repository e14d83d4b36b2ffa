"""One training of the fleet's model, and one rollback: rows of the ledger in, a decision for all routers out.

What makes a model better stands in `promotion.py`; where decisions and files are kept in `fleet_models.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError, Refused, WrongSequence
from outrider.broker.follower import StreamReader
from outrider.broker.subjects import Subjects, check_name
from outrider.router.artifact import ModelStore, shipped_version
from outrider.router.config import router_settings
from outrider.router.dataset import Row, RowBuilder
from outrider.router.decisions import SHIPPED_NAME, Decision, Outcome, Trigger, served_before, shown_name
from outrider.router.flat_forest import ModelRefused
from outrider.router.fleet_models import FleetModels, writing
from outrider.router.signing import KeyProblem, can_sign, public_key

log = logging.getLogger(__name__)

MOST_ROWS = 200_000
MOST_ENTRIES = 2_000_000
"""Of the ledger, the newest: older ones say little about the fleet as it is now, and reading takes time."""
PAGE = 2560
TRIES = 5


async def train_fleet(
    settings: NatsSettings,
    fleet: str,
    state_folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    trigger: Trigger = Trigger.ASKED,
    after: int | None = None,
) -> dict[str, Any]:
    """Train on the fleet's ledger, judge, and let every router know. The report says what and why.

    With `after` only if no decision came since that sequence. Raises Refused while another trains, KeyProblem
    where the fleet's key cannot sign, NatsUnavailable, WrongCredentials or BadSettings.
    """
    here, subjects = router_settings(env), Subjects(fleet)
    store = ModelStore(state_folder, here.model_key)
    async with (
        await Connection.open(settings, "router training") as connection,
        writing(connection, subjects) as models,
    ):
        await models.create()
        async with models.training(own_name()):
            decisions, seq = await models.decisions(), await models.last_decision_seq()
            if after is not None and seq != after:
                return {"rows": 0, "promoted": False, "why": "another training came first"}
            problem = key_problem(store, decisions)
            if problem is not None:
                raise problem
            serving = await _have_serving(models, store, decisions)
            rows = await ledger_rows(connection, subjects)
            report = await asyncio.to_thread(_learn, rows, store, here.fewest_rows, serving or None)
            return await _record(models, store, report, trigger, serving)


def _learn(rows: Sequence[Row], store: ModelStore, fewest: int, serving: str | None) -> dict[str, Any]:
    from outrider.router.training import learn  # noqa: PLC0415 - it brings the seed data

    return learn(rows, store, fewest, serving)


def own_name() -> str:
    """Who decides, for people."""
    return f"{socket.gethostname()}-{os.getpid()}"


def key_problem(store: ModelStore, decisions: Sequence[Decision]) -> KeyProblem | None:
    """Why this state folder may not sign models of the fleet: they must all have one key.

    The key in a decision is its writer's word; it can keep a training from happening and nothing else.
    """
    try:
        own = public_key(store.keys) if can_sign(store.keys) else ""
    except KeyProblem as problem:
        return problem
    if own and own == store.key:
        return None
    known = store.key or next((d.key for d in reversed(decisions) if d.key), "")
    if not known or own == known:
        return None
    return KeyProblem(
        f"the fleet's models are signed with key {known}, and this state folder cannot do that",
        hint="train where its router/keys/model.nk is, or set another OUTRIDER_MODEL_KEY everywhere",
    )


async def _have_serving(models: FleetModels, store: ModelStore, decisions: Sequence[Decision]) -> str:
    """The version that serves, brought here if it is elsewhere: the new one is judged against it."""
    if not decisions:
        return await _adopt(models, store)
    serving = decisions[-1].serves
    try:
        await bring(models, store, serving)
    except (ModelRefused, OutriderError) as error:
        log.warning("the model that serves cannot be compared with: %s", error)
    return serving


async def bring(models: FleetModels, store: ModelStore, version: str) -> bool:
    """Have a version in `store`, checked; tells whether it had to be fetched.

    Raises ModelRefused, BrokenObject or what reading raises.
    """
    try:
        await asyncio.to_thread(store.load, version or None)
    except ModelRefused:
        if not version:
            raise
        files = await models.fetch(version)
        await asyncio.to_thread(store.install, version, files)
        return True
    return False


async def _adopt(models: FleetModels, store: ModelStore) -> str:
    """Let the fleet have the model that served from this folder before there was a decision about any."""
    try:
        version = store.serving_version()
        if version is None:
            return ""
        model = store.load(version)
    except ModelRefused as refused:
        log.warning("%s; going on from the shipped model", refused)
        return ""
    await models.publish(version, store.files(version))
    decision = Decision(Outcome.PROMOTED, version, version, "it served here before", by=own_name())
    decision = replace(decision, metrics=model.manifest.get("metrics", {}), key=public_key(store.keys))
    await models.decide(decision, await models.last_decision_seq())
    return version


async def ledger_rows(connection: Connection, subjects: Subjects) -> list[Row]:
    """The newest rows of the fleet's ledger, in its order."""
    builder, rows = RowBuilder(), list[Row]()
    reader = StreamReader(connection, subjects.ledger_stream)
    state = (await connection.api(f"STREAM.INFO.{subjects.ledger_stream}"))["state"]
    first = max(1, int(state["last_seq"]) - MOST_ENTRIES)
    while page := await reader.all_of(subjects.all_ledger, first, PAGE):
        for stored in page:
            row = builder.fold(stored.subject, stored.data, stored.seq, stored.stored_at)
            if row is not None:
                rows.append(row)
        del rows[:-MOST_ROWS]
        first = page[-1].seq + 1
    return rows


async def _record(
    models: FleetModels, store: ModelStore, report: dict[str, Any], trigger: Trigger, serving: str
) -> dict[str, Any]:
    """Write the decision down; the promoted model's files are in the object store before."""
    version = report.get("version", "")
    if report["promoted"]:
        await models.publish(version, store.files(version))
    for _ in range(TRIES):
        decision = _decision(report, trigger, serving, public_key(store.keys))
        try:
            await models.decide(decision, await models.last_decision_seq())
        except WrongSequence:
            now = await models.decisions()
            if now and now[-1].serves != serving:
                serving = now[-1].serves
                report = report | {
                    "promoted": False,
                    "why": f"{shown_name(serving)} was made to serve while this was judged against another",
                }
            continue
        break
    else:
        raise Refused("others decide about models all the time")
    if report["promoted"]:
        store.promote(version)
        await models.tidy({version, serving})
    log.info("model %s %s: %s", version or "-", decision.outcome, decision.why)
    return report


def _decision(report: Mapping[str, Any], trigger: Trigger, serving: str, key: str) -> Decision:
    version, promoted = report.get("version", ""), report["promoted"]
    return Decision(
        Outcome.PROMOTED if promoted else Outcome.REFUSED,
        version if promoted else serving,
        version,
        report["why"],
        trigger,
        own_name(),
        report["rows"],
        report.get("metrics", {}),
        key if version else "",
    )


async def roll_back(
    settings: NatsSettings,
    fleet: str,
    state_folder: Path,
    to: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Let every router serve what served before, or the version `to` (`shipped` for the one in the package).

    From then on nothing is trained or promoted by itself until somebody trains by hand. Raises Refused when
    there is nothing to go back to, ModelRefused for a version that is not there or not sound, InvalidName.
    """
    subjects, store = Subjects(fleet), ModelStore(state_folder, router_settings(env).model_key)
    async with (
        await Connection.open(settings, "router rollback") as connection,
        writing(connection, subjects) as models,
    ):
        decisions, seq = await models.decisions(), await models.last_decision_seq()
        if not decisions:
            raise Refused("no model was promoted in this fleet: the shipped one serves")
        before = decisions[-1].serves
        version = served_before(decisions) if to is None else _named(to)
        if version == before:
            raise Refused(f"{shown_name(version)} serves already")
        await _demand_sound(models, store, version)
        why = f"rolled back from {shown_name(before)}"
        await models.decide(Decision(Outcome.ROLLED_BACK, version, version, why, by=own_name()), seq)
    return {"serves": shown_name(version), "served": shown_name(before), "why": why}


def _named(to: str) -> str:
    return "" if to in (SHIPPED_NAME, shipped_version()) else check_name(to, "model version")


async def _demand_sound(models: FleetModels, store: ModelStore, version: str) -> None:
    """Refuse a model that routers would refuse; without a key here only whether it is there can be said."""
    if version:
        files = await models.fetch(version)
        if not (store.key or public_key(store.keys)):
            return
        await asyncio.to_thread(store.install, version, files)
    if store.pointer.exists() or version:
        store.promote(version or None)
