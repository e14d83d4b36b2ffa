"""What a submit may say beside the task itself: when it starts, and which others it stands for.

Pure: shapes, their checks and the headers that the server's message schedules take.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from outrider.broker.cron import Cron, parse_cron
from outrider.broker.errors import InvalidTask
from outrider.broker.messages import TaskEnvelope

FARTHEST_S = 10 * 366 * 24 * 3600.0
LONGEST_DEBOUNCE_S = 7 * 24 * 3600.0
LONGEST_CRON_ID = 43
"""The task of each fire is named by schedule and sequence, together at most 64 signs."""


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """Fields of `<fleet>.submit` beside those of TaskEnvelope; also stored with a schedule."""

    delay_s: float | None = None
    run_at: float | None = None
    cron: str | None = None
    time_zone: str | None = None
    unique: bool | None = None
    unique_key: str | None = None
    debounce_s: float | None = None
    debounce_key: str | None = None

    def check(self, wall_at: float) -> SubmitOptions:
        """The options themselves when they make sense together. Raises InvalidTask."""
        starts = [
            name for name in ("delay_s", "run_at", "cron", "debounce_s") if getattr(self, name) is not None
        ]
        if len(starts) > 1:
            raise InvalidTask(f"{' and '.join(starts)} exclude each other", hint="give one of them")
        if self.is_unique and (self.cron is not None or self.debounce_s is not None):
            raise InvalidTask("a unique task has neither cron nor debounce_s")
        if self.time_zone is not None and self.cron is None:
            raise InvalidTask("time_zone goes with cron only", hint="run_at says its own offset")
        for name in ("unique_key", "debounce_key"):
            key = getattr(self, name)
            if key is not None and not 0 < len(key) <= 256:
                raise InvalidTask(f"{name} is a text of 1 to 256 signs")
        self._check_delay()
        self._check_instant(wall_at)
        self._check_debounce()
        if self.cron is not None and parse_cron(self.cron).next_after(wall_at, UTC) is None:
            raise InvalidTask(f"cron {self.cron!r} never fires: there is no such day within five years")
        if self.time_zone is not None:
            check_zone(self.time_zone)
        return self

    @property
    def is_unique(self) -> bool:
        return bool(self.unique) or self.unique_key is not None

    @property
    def is_one_task(self) -> bool:
        """Whether the submit stands for the task it names, now or later, and for no other."""
        return not self.is_unique and self.cron is None and self.debounce_s is None

    def _check_delay(self) -> None:
        if self.delay_s is not None and not 0 < self.delay_s <= FARTHEST_S:
            raise InvalidTask(f"delay_s {self.delay_s:g} is not between 0 and {FARTHEST_S:.0f}")

    def _check_instant(self, wall_at: float) -> None:
        if self.run_at is None:
            return
        late_s = wall_at - self.run_at
        if late_s > 0:
            raise InvalidTask(
                f"run_at {self.run_at:.3f} is in the past, by {late_s:.0f} s", hint="leave it out to run now"
            )
        if -late_s > FARTHEST_S:
            raise InvalidTask(
                f"run_at {self.run_at:.12g} is more than ten years ahead", hint="seconds since 1970, UTC"
            )

    def _check_debounce(self) -> None:
        if (self.debounce_s is None) != (self.debounce_key is None):
            raise InvalidTask("debounce_s and debounce_key go together")
        if self.debounce_s is not None and not 0 < self.debounce_s <= LONGEST_DEBOUNCE_S:
            raise InvalidTask(f"debounce_s {self.debounce_s:g} is not between 0 and {LONGEST_DEBOUNCE_S:.0f}")

    def starts_at(self, wall_at: float) -> float | None:
        """When a delayed task shall start, on the wall clock; None for one that need not wait."""
        return wall_at + self.delay_s if self.delay_s is not None else self.run_at


OPTION_NAMES = frozenset(field.name for field in fields(SubmitOptions))


def has_options(body: Any) -> bool:
    """Whether a decoded body says more than a TaskEnvelope does."""
    return isinstance(body, dict) and any(body.get(name) is not None for name in OPTION_NAMES & body.keys())


def check_zone(name: str) -> str:
    """The name of a time zone when it is known here; where no zones are known, the server decides.

    Raises InvalidTask with the nearest names.
    """
    known = available_timezones()
    if known and name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "for example Europe/Berlin or UTC"
        raise InvalidTask(f"time zone {name!r} is not known", hint=hint)
    return name


def next_fire(cron: str, time_zone: str | None, after: float) -> float | None:
    """When a schedule fires next, or None when that cannot be told here."""
    try:
        pattern: Cron = parse_cron(cron)
        return pattern.next_after(after, ZoneInfo(time_zone) if time_zone else UTC)
    except (InvalidTask, OSError, ValueError, LookupError):
        return None


def at_headers(instant: float, target: str) -> dict[str, str]:
    """Headers of a message that the server shall deliver once, at an instant."""
    when = datetime.fromtimestamp(instant, UTC).isoformat().replace("+00:00", "Z")
    return {"Nats-Schedule": f"@at {when}", "Nats-Schedule-Target": target}


def cron_headers(pattern: str, time_zone: str | None, target: str) -> dict[str, str]:
    """Headers of a message that the server shall deliver again and again."""
    headers = {"Nats-Schedule": pattern, "Nats-Schedule-Target": target}
    return headers | ({"Nats-Schedule-Time-Zone": time_zone} if time_zone else {})


def unique_name(envelope: TaskEnvelope, key: str | None) -> str:
    """What stands for all tasks of which only one may be open: a key, or kind and payload."""
    what = key if key is not None else json.dumps(_work(envelope), sort_keys=True, default=repr)
    return "unique-" + _digest("key" if key is not None else "payload", envelope.kind, what)


def _work(envelope: TaskEnvelope) -> object:
    ref = envelope.payload_ref
    return envelope.payload if ref is None else ref.sha256


def debounce_name(kind: str, key: str) -> str:
    """What stands for all submits of which only the last shall run."""
    return "debounce-" + _digest(kind, key)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
