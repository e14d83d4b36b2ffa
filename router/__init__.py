"""The prediction: features, model, training, serving and evaluation.

The functions here are what the command line calls. They import the heavy parts only when called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.errors import MissingExtra

__all__ = ["evaluate", "key", "models", "replay", "rollback", "serve", "show", "train"]


def _need_packages() -> None:
    try:
        import joblib  # noqa: F401, PLC0415
        import numpy  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtra(
            f"the router needs the package {error.name}", hint="pip install 'outrider[router]'"
        ) from None


async def serve(
    settings: NatsSettings,
    fleet: str,
    state_folder: Path,
    policy: str,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
) -> None:
    """Answer `<fleet>.route` until `stop` is set. `policy` is `model` or, to compare with, `random`.

    Raises MissingExtra, BadSettings, NatsUnavailable or WrongCredentials.
    """
    _need_packages()
    from outrider.router.serving import serve as run  # noqa: PLC0415

    await run(settings, fleet, state_folder, policy, stop, on_ready, env=env)


async def train(
    settings: NatsSettings, fleet: str, state_folder: Path, *, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Train on the fleet's ledger and promote the new model only if it is better; tells which and why.

    Raises MissingExtra, BadSettings, KeyProblem, NatsUnavailable, WrongCredentials, or Refused while another
    trains.
    """
    _need_packages()
    from outrider.router.fleet_training import train_fleet  # noqa: PLC0415

    return await train_fleet(settings, fleet, state_folder, env=env)


async def rollback(
    settings: NatsSettings,
    fleet: str,
    state_folder: Path,
    to: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Let every router serve what served before, or the version `to`; `shipped` is the package's own.

    Raises MissingExtra, BadSettings, Refused, ModelRefused, InvalidName, NatsUnavailable or WrongCredentials.
    """
    _need_packages()
    from outrider.router.fleet_training import roll_back  # noqa: PLC0415

    return await roll_back(settings, fleet, state_folder, to, env=env)


async def models(settings: NatsSettings, fleet: str) -> dict[str, Any]:
    """The fleet's models with their figures, which one serves, and every decision that is kept, oldest first.

    Raises MissingExtra, NatsUnavailable or WrongCredentials.
    """
    _need_packages()
    from outrider.router.model_list import list_models  # noqa: PLC0415

    return await list_models(settings, fleet)


def key(state_folder: Path) -> str:
    """The public half of the model key in a state folder, empty without one. Raises KeyProblem."""
    _need_packages()
    from outrider.router.artifact import ModelStore  # noqa: PLC0415
    from outrider.router.signing import public_key  # noqa: PLC0415

    return public_key(ModelStore(state_folder).keys)


def show(state_folder: Path) -> dict[str, Any]:
    """The manifest of the model that a router with this state folder serves. Raises ModelRefused."""
    _need_packages()
    from outrider.router.artifact import serving_manifest  # noqa: PLC0415

    return serving_manifest(state_folder)


def evaluate(
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
    *,
    policies: Sequence[str] | None = None,
    **plan: Any,
) -> dict[str, Any]:
    """Compare policies on the measured latencies of a folder; `plan` holds fields of `evaluation.run.Plan`,
    such as `scenarios=("base", "known", "newcomers")`.

    Raises MissingExtra, DataUnusable or UnknownPolicy.
    """
    _need_packages()
    from outrider.router.evaluation.names import POLICIES  # noqa: PLC0415
    from outrider.router.evaluation.run import Plan  # noqa: PLC0415
    from outrider.router.evaluation.run import evaluate as run  # noqa: PLC0415

    return run(folder, Plan(policies=policies or POLICIES, **plan), tell)


async def replay(
    settings: NatsSettings,
    fleet: str,
    state_folder: Path,
    since_s: float,
    *,
    policy: str | None = None,
    model: str | None = None,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What another policy or model would have changed, by the decisions of the last `since_s` seconds.

    A model that is not in the state folder is fetched from the fleet's, checked, and not kept.
    Raises MissingExtra, BadSettings, UnknownPolicy, InvalidName, ModelRefused, NatsUnavailable or
    WrongCredentials.
    """
    _need_packages()
    from outrider.router.counterfactual.asked import Question  # noqa: PLC0415
    from outrider.router.counterfactual.replay import replay as run  # noqa: PLC0415

    return await run(settings, fleet, state_folder, Question(since_s, policy, model), env=env)
