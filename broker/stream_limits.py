"""The bounds of one fleet's streams as settings, with their units in the names.

Pure: `from_environment` is handed the environment. Streams take them when they are made; an existing stream
keeps what it has, and `outrider doctor` tells where the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from outrider.broker.config import BadSettings

DAY_S = 24 * 3600
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of one fleet's streams; a full stream refuses instead of forgetting."""

    tasks_messages: int = 2_000_000
    tasks_bytes: int = 4 * GIB
    ledger_bytes: int = 16 * GIB
    ledger_age_s: int = 14 * DAY_S
    """How long results and stories are kept."""
    chunks_bytes: int = 1 * GIB
    chunks_age_s: int = 3600
    """How long a late reader finds partial output."""
    payloads_bytes: int = 8 * GIB
    keys_bytes: int = 1 * GIB
    limits_bytes: int = 8 * 1024 * 1024
    replicas: int = 1

    @property
    def payloads_age_s(self) -> int:
        """Twice the ledger's: an object is named by entries written for a while after it was stored."""
        return 2 * self.ledger_age_s

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Self:
        """Defaults, changed by `OUTRIDER_` and a field's name in capitals. Raises BadSettings."""
        given = {}
        for field in fields(cls):
            variable = f"OUTRIDER_{field.name.upper()}"
            if variable in env:
                given[field.name] = above_zero(variable, env[variable])
        return cls(**given)


def above_zero(variable: str, text: str) -> int:
    """The whole number of a setting. Raises BadSettings."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise BadSettings(f"{variable}={text!r} is not a whole number above 0")
    return int(text)
