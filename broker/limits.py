"""Concurrency, rate and token limits as they travel: what an operator sets and what an orchestrator shows.

Pure: shapes and their own consistency. Who is let through when is the orchestrator's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from outrider.broker.errors import InvalidLimit, InvalidName
from outrider.broker.messages import VERSION
from outrider.broker.subjects import check_name

ANY = "*"
MOST_AT_ONCE = 1_000_000
MOST_RATE = 1_000_000
LONGEST_PERIOD_S = 24 * 3600.0
MOST_TOKENS = 10**12


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of some tasks may run; one that limits nothing takes back what was set before.

    `kind` is a kind, or `*` for all kinds together. `key` is empty for all tasks of that kind together,
    a limit key, or a pattern (`*`, `acme-*`): then each key that fits has the limit for itself.
    """

    kind: str = ANY
    key: str = ""
    concurrency: int | None = None
    """Attempts at once."""
    rate: int | None = None
    """Attempts that may start in any `per_s` seconds."""
    per_s: float = 1.0
    tokens_per_minute: int | None = None
    set_at: float = 0.0
    v: int = VERSION

    @property
    def is_nothing(self) -> bool:
        return self.concurrency is None and self.rate is None and self.tokens_per_minute is None

    def check(self) -> Limit:
        """The limit itself when its fields make sense. Raises InvalidName or InvalidLimit."""
        check_limit_name(self.kind, self.key)
        _check("concurrency", self.concurrency, 1, MOST_AT_ONCE)
        _check("rate", self.rate, 1, MOST_RATE)
        _check("per_s", self.per_s, 0.01, LONGEST_PERIOD_S)
        _check("tokens_per_minute", self.tokens_per_minute, 1, MOST_TOKENS)
        if self.v != VERSION:
            raise InvalidLimit(f"limit of version {self.v} is not known here")
        return self


def _check(what: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidLimit(f"{what} {value} is not between {least:g} and {most:.12g}")


def check_limit_name(kind: str, key: str) -> None:
    """Raises InvalidName unless these can name a limit."""
    if kind != ANY:
        check_name(kind, "kind")
    stem = key.removesuffix(ANY)
    if stem:
        check_name(stem, "limit key")
    elif key not in ("", ANY):
        raise InvalidName(f"limit key {key!r} is not a name, nor a name's start and '*'")


@dataclass(frozen=True, slots=True)
class LimitName:
    """Which limit: the kind and key that it was set with."""

    kind: str = ANY
    key: str = ""


@dataclass(frozen=True, slots=True)
class LimitsRequest:
    """Body of `<fleet>.limits`: set one, remove one, or neither; the answer lists what is in force."""

    set: Limit | None = None
    remove: LimitName | None = None


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit, or a kind and key that a provider holds back, as the answering orchestrator sees it now."""

    kind: str
    key: str
    concurrency: int | None = None
    rate: int | None = None
    per_s: float | None = None
    tokens_per_minute: int | None = None
    in_flight: int = 0
    """Attempts that count against it; of a pattern, of all its keys together."""
    parked: int = 0
    """Tasks that wait for it in the memory of this orchestrator; others wait in TASKS."""
    starts: int = 0
    """Attempts that started within the last `per_s`."""
    tokens: int = 0
    """Tokens of the last minute: as predicted, and as used where an outcome told."""
    keys: int = 0
    """Keys of a pattern that were busy lately."""
    held_s: float | None = None
    """How much longer a provider's answer 429 holds it back."""


@dataclass(frozen=True, slots=True)
class LimitList:
    """Answer to `<fleet>.limits`."""

    limits: tuple[LimitView, ...]
