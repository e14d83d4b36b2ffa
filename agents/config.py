"""What agents read from the environment: where to spool, labels, and how to reach a language model.

The only file of `agents/` that knows names of variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from outrider.broker.config import BadSettings, state_folder

DEFAULT_MODEL = "gpt-4o"


def spool_folder(state: Path, fleet: str, agent_id: str) -> Path:
    """Where one agent of one fleet keeps outcomes until the ledger has them."""
    return state / "spool" / fleet / agent_id


def local_model_folder(env: Mapping[str, str]) -> Path:
    """Where the agents of this machine find the one local model server."""
    return state_folder(env) / "local-model"


def labels_from(env: Mapping[str, str]) -> tuple[str, ...]:
    """The labels in OUTRIDER_LABELS, separated by commas."""
    return tuple(label for label in (p.strip() for p in env.get("OUTRIDER_LABELS", "").split(",")) if label)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint. Prices are US dollars for a million tokens."""

    model: str
    api_key: str = field(repr=False)
    base_url: str | None = None
    price_in: float | None = None
    price_out: float | None = None


def endpoint_from(env: Mapping[str, str]) -> Endpoint | None:
    """The endpoint that OPENAI_API_KEY or OPENAI_BASE_URL names, or None: then the local model serves.

    Raises BadSettings for a price that is no number.
    """
    key, base_url = env.get("OPENAI_API_KEY"), env.get("OPENAI_BASE_URL")
    if not key and not base_url:
        return None
    return Endpoint(
        model=env.get("OUTRIDER_MODEL", DEFAULT_MODEL),
        api_key=key or "none",
        base_url=base_url,
        price_in=_price(env, "OUTRIDER_PRICE_IN"),
        price_out=_price(env, "OUTRIDER_PRICE_OUT"),
    )


def _price(env: Mapping[str, str], name: str) -> float | None:
    if name not in env:
        return None
    try:
        price = float(env[name])
    except ValueError:
        price = -1.0
    if not 0 <= price < 1e6:
        raise BadSettings(f"{name} is {env[name]!r}, not dollars for a million tokens")
    return price
