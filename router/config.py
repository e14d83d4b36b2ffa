"""The router's settings. The only file of this folder that reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from outrider.broker.config import BadSettings, environment

POLICIES = ("model", "random")


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """How the router chooses and when it looks for a new model."""

    policy: str = "model"
    explore_rate: float = 0.05
    """Largest share of decisions that try an agent nobody has seen; 0 also ends the benefit of doubt."""
    reload_s: float = 1.0
    """How often the state folder is asked for a new model."""
    fewest_rows: int = 200
    """Fewer finished attempts than this are not worth a training."""
    history: int = 50_000
    """How many of the newest ledger entries a router learns from at its start."""
    retrain_s: float = 21_600.0
    """So long after a training comes the next; 0 means none by the clock."""
    retrain_drift: float = 1.5
    """Train when the live error is so many times what it was when last judged; 0 means never for that."""
    retrain_gap_s: float = 900.0
    """Drift starts no training sooner than this after the one before, or after the router's start."""
    model_key: str = ""
    """Public half of the fleet's model key, where the state folder does not hold it."""


def _number(env: Mapping[str, str], name: str, default: float, lowest: float, highest: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if lowest <= value <= highest:
        return value
    raise BadSettings(f"{name}={text!r} is not a number from {lowest:g} to {highest:g}")


def router_settings(env: Mapping[str, str] | None = None, policy: str | None = None) -> RouterSettings:
    """The settings from the environment; `policy` given by argument wins. Raises BadSettings."""
    env = environment() if env is None else env
    chosen = policy or env.get("OUTRIDER_ROUTER_POLICY", "model")
    if chosen not in POLICIES:
        raise BadSettings(f"router policy {chosen!r} is not known", hint=f"use one of: {', '.join(POLICIES)}")
    return RouterSettings(
        policy=chosen,
        explore_rate=_number(env, "OUTRIDER_ROUTER_EXPLORE", 0.05, 0.0, 1.0),
        reload_s=_number(env, "OUTRIDER_ROUTER_RELOAD_S", 1.0, 0.05, 3600.0),
        fewest_rows=int(_number(env, "OUTRIDER_ROUTER_FEWEST_ROWS", 200, 50, 1e7)),
        history=int(_number(env, "OUTRIDER_ROUTER_HISTORY", 50_000, 0, 1e9)),
        retrain_s=_number(env, "OUTRIDER_ROUTER_RETRAIN_S", 21_600.0, 0.0, 1e9),
        retrain_drift=_number(env, "OUTRIDER_ROUTER_RETRAIN_DRIFT", 1.5, 0.0, 100.0),
        retrain_gap_s=_number(env, "OUTRIDER_ROUTER_RETRAIN_GAP_S", 900.0, 0.0, 1e9),
        model_key=_model_key(env.get("OUTRIDER_MODEL_KEY", "").strip()),
    )


def _model_key(text: str) -> str:
    if text and not (len(text) == 56 and text[0] == "A" and text.isalnum() and text.isascii()):
        hint = "take it from `outrider router key` where models are trained; it begins with A"
        raise BadSettings("OUTRIDER_MODEL_KEY is not the public half of a model key", hint=hint)
    return text
