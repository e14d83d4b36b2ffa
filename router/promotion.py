"""Whether a new model may serve: it must beat every rival on the newest rows. Pure; says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BETTER_BY = 0.99
"""A new model must be this much better than what it replaces: a coin's throw is no reason to change."""
NAMES = {
    "average": "the average per agent and kind",
    "table_drift": "the table per agent and kind with drift",
    "serving": "the model that serves",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is promoted, and why in words."""

    promoted: bool
    why: str


def judged(error: float, rivals: Mapping[str, float | None], rows: int) -> Verdict:
    """Errors are mean absolute log errors on the same `rows` newest rows; a rival without one does not count.

    An error that is no number never wins.
    """
    known = {name: rival for name, rival in rivals.items() if rival is not None}
    figures = ", ".join(f"{NAMES.get(name, name)} {rival:.4f}" for name, rival in known.items())
    told = f"mean log error {error:.4f} on the newest {rows} attempts; {figures}"
    # Said this way round, because no comparison with NaN holds.
    losing = [NAMES.get(name, name) for name, rival in known.items() if not error <= BETTER_BY * rival]
    if not known or losing:
        return Verdict(False, f"not better than {' and '.join(losing) or 'anything'}: {told}")
    return Verdict(True, f"better than all it was compared with: {told}")
