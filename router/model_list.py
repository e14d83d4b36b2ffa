"""What is known of the fleet's models, for people and programs. Reads only, and needs no key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.schema import to_map
from outrider.broker.subjects import Subjects
from outrider.router.artifact import shipped_version
from outrider.router.decisions import Decision, Outcome, is_held, shown_name
from outrider.router.fleet_models import FleetModels


async def list_models(settings: NatsSettings, fleet: str) -> dict[str, Any]:
    """Models, newest first, and decisions, oldest first. Raises NatsUnavailable or WrongCredentials."""
    async with await Connection.open(settings, "router models") as connection:
        models = FleetModels(connection, Subjects(fleet))
        decisions, stored = await models.decisions(), set(await models.versions())
    serves = decisions[-1].serves if decisions else ""
    return {
        "serves": shown_name(serves),
        "shipped": shipped_version(),
        "is_held": is_held(decisions),
        "models": [_model(decision, serves, stored) for decision in _judged(decisions)],
        "decisions": [_decision(decision) for decision in decisions],
    }


def _judged(decisions: Sequence[Decision]) -> list[Decision]:
    """For each model its newest judgement, newest first."""
    found: dict[str, Decision] = {}
    for decision in reversed(decisions):
        if decision.version and decision.outcome is not Outcome.ROLLED_BACK:
            found.setdefault(decision.version, decision)
    return list(found.values())


def _model(decision: Decision, serves: str, stored: set[str]) -> dict[str, Any]:
    return {
        "version": decision.version,
        "serves": decision.version == serves,
        "outcome": decision.outcome.value,
        "trained_at": decision.at,
        "rows": decision.rows,
        "metrics": decision.metrics,
        "is_stored": decision.version in stored,
        "key": decision.key,
    }


def _decision(decision: Decision) -> dict[str, Any]:
    body = to_map(decision)
    # A map leaves out what is the default; here every field is told.
    defaults = {
        "serves": "",
        "version": "",
        "why": "",
        "trigger": "asked",
        "by": "",
        "rows": 0,
        "metrics": {},
    }
    shown = defaults | {name: value for name, value in body.items() if name != "key"}
    return shown | {"serves": shown_name(decision.serves), "seq": decision.seq, "at": decision.at}
