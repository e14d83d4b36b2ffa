"""`outrider router models|rollback|key`: the fleet's models, one step back, and their key."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from outrider.cli.config import surroundings
from outrider.cli.exit_codes import OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, table
from outrider.cli.parser import Commands, Parser, add_command

MODEL_COLUMNS = (
    "VERSION",
    "SERVES",
    "OUTCOME",
    "TRAINED",
    "ROWS",
    "ERROR",
    "TABLE",
    "SERVED THEN",
    "P90 COVERS",
)
NEWEST = 20
NO_KEY = "the first `outrider router train` that has rows enough makes it; ask where models are trained"


def add_to(inner: Commands) -> None:
    example = "outrider router models ls --json"
    models = add_command(inner, "models", "list the fleet's models and the decisions about them", example)
    models.set_defaults(run=_models)
    which = models.add_subparsers(metavar="ls", parser_class=Parser)
    listed = add_command(which, "ls", "list the fleet's models and the decisions about them", example)
    listed.set_defaults(run=_models)
    back = add_command(
        inner,
        "rollback",
        "let every router serve what served before",
        "outrider router rollback",
        text="From then on nothing is promoted by itself until `outrider router train`.",
    )
    back.add_argument("version", metavar="VERSION", nargs="?", help="this one instead; `shipped` is allowed")
    back.set_defaults(run=_rollback)
    key = add_command(inner, "key", "print the public model key of this state folder", "outrider router key")
    key.set_defaults(run=_key)


def _models(options: argparse.Namespace) -> int:
    return run_interruptibly(_show_models(options))


async def _show_models(options: argparse.Namespace) -> int:
    from outrider.router import models  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    found = await models(here.settings(), here.fleet)
    if hasattr(options, "json"):
        document(found)
        return OK
    held = ", rolled back: train by hand to go on" if found["is_held"] else ""
    note(f"{_named(found['serves'], found)} serves{held}")
    data(table(MODEL_COLUMNS, [_model_cells(model) for model in found["models"]]))
    for decision in found["decisions"][-NEWEST:]:
        data(_decision_text(decision, _named(decision["serves"], found)))
    return OK


def _named(version: str, found: dict[str, Any]) -> str:
    """The shipped model by both of its names: explanations and replays say its version."""
    return f"shipped ({found['shipped']})" if version == "shipped" else version


def _model_cells(model: dict[str, Any]) -> list[str]:
    metrics = model["metrics"]
    figures = [
        _figure(metrics, who, what)
        for who, what in (
            ("model", "mae_log"),
            ("table_drift", "mae_log"),
            ("serving", "mae_log"),
            ("model", "p90_coverage"),
        )
    ]
    mark = "yes" if model["serves"] else ""
    return [
        model["version"],
        mark,
        model["outcome"],
        _when(model["trained_at"]),
        str(model["rows"]),
        *figures,
    ]


def _figure(metrics: Any, who: str, what: str) -> str:
    found = metrics.get(who) if isinstance(metrics, dict) else None
    value = found.get(what) if isinstance(found, dict) else None
    return f"{value:.3f}" if isinstance(value, (int, float)) else "-"


def _decision_text(decision: dict[str, Any], serves: str) -> str:
    what = f"{decision['outcome']} {decision['version'] or '-'} ({decision['trigger']}, by {decision['by']})"
    return f"{_when(decision['at'])} {what}: {decision['why']}; {serves} serves"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _rollback(options: argparse.Namespace) -> int:
    return run_interruptibly(_roll_back(options))


async def _roll_back(options: argparse.Namespace) -> int:
    from outrider.router import rollback  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    report = await rollback(here.settings(), here.fleet, here.state, options.version)
    if hasattr(options, "json"):
        document(report)
    else:
        data(f"{report['serves']} serves from now on, instead of {report['served']}")
    return OK


def _key(options: argparse.Namespace) -> int:
    from outrider.router import key  # noqa: PLC0415 - it brings the keys
    from outrider.router.signing import KeyProblem  # noqa: PLC0415 - likewise

    state = surroundings(options).state
    found = key(state)
    if not found:
        # Nothing on stdout and no error would set OUTRIDER_MODEL_KEY to "" unseen.
        raise KeyProblem(f"there is no model key in the state folder {state}", hint=NO_KEY)
    if hasattr(options, "json"):
        document({"key": found})
    else:
        data(found)
    return OK
