"""Cron patterns as people write them, checked strictly and turned into the six fields that NATS takes.

Pure. The rules are the server's: seconds first, days of month and week both given mean either of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from outrider.broker.errors import InvalidTask

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
HINT = "five or six fields: [second] minute hour day-of-month month day-of-week, such as '30 9 * * mon-fri'"
FARTHEST = timedelta(days=5 * 366)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the six fields: its bounds, and names that stand for numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


KINDS = (
    _Kind("second", 0, 59),
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day of month", 1, 31),
    _Kind("month", 1, 12, MONTHS),
    _Kind("day of week", 0, 6, WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A checked pattern; `pattern` is what the server gets."""

    pattern: str
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_any_day: bool
    """One of the two day fields is a star, so both must match; otherwise either will do."""

    def next_after(self, instant: float, zone: tzinfo) -> float | None:
        """The next instant at which it fires, or None when there is none within five years.

        What a change to summer time skips does not fire that day; what a change back repeats fires twice.
        """
        at = datetime.fromtimestamp(int(instant) + 1, zone)
        last = at + FARTHEST
        while at < last:
            if at.month not in self.months or not self._is_day(at):
                at = _later(at.replace(hour=0, minute=0, second=0, fold=0), timedelta(days=1), zone)
            elif at.hour not in self.hours:
                at = _elapse(at.replace(minute=0, second=0), 3600, zone)
            elif at.minute not in self.minutes:
                at = _elapse(at.replace(second=0), 60, zone)
            elif at.second not in self.seconds:
                at = _elapse(at, 1, zone)
            else:
                return at.timestamp()
        return None

    def _is_day(self, at: datetime) -> bool:
        is_date, is_weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return (is_date and is_weekday) if self.is_any_day else (is_date or is_weekday)


def _elapse(at: datetime, seconds: int, zone: tzinfo) -> datetime:
    """So many real seconds later, whatever the clocks on the wall do."""
    return datetime.fromtimestamp(at.timestamp() + seconds, zone)


def _later(at: datetime, by: timedelta, zone: tzinfo) -> datetime:
    """So much later on the wall; a time that does not exist there becomes the one after it."""
    return datetime.fromtimestamp((at + by).timestamp(), zone)


def parse_cron(text: str) -> Cron:
    """The checked pattern of five or six fields, or of a shorthand such as @daily.

    Raises InvalidTask that says which field is wrong and why.
    """
    fields = SHORTHANDS.get(text.strip().lower(), text).split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise InvalidTask(f"cron {text!r} has {len(fields)} fields instead of 5 or 6", hint=HINT)
    read = [_read(field, kind, text) for field, kind in zip(fields, KINDS, strict=True)]
    fields[5] = fields[5] if "7" not in fields[5] else ",".join(map(str, sorted(read[5])))
    is_any_day = any(_is_star(fields[place]) for place in (3, 5))
    seconds, minutes, hours, days, months, weekdays = map(frozenset, read)
    return Cron(" ".join(fields), seconds, minutes, hours, days, months, weekdays, is_any_day)


def _is_star(field: str) -> bool:
    return any(
        part.split("/")[0] in ("*", "?") and part.split("/")[1:] in ([], ["1"]) for part in field.split(",")
    )


def _read(field: str, kind: _Kind, text: str) -> set[int]:
    try:
        found: set[int] = set()
        for part in field.split(","):
            found |= _part(part, kind)
    except ValueError as error:
        raise InvalidTask(f"cron {text!r}: {kind.name} {field!r}: {error}", hint=HINT) from None
    return found


def _part(part: str, kind: _Kind) -> set[int]:
    """The numbers of `n`, `a-b`, `*` and `?`, each perhaps with `/step`."""
    span, slash, step_text = part.partition("/")
    step = 1
    if slash:
        if not (step_text.isascii() and step_text.isdigit()) or int(step_text) == 0:
            raise ValueError(f"step {step_text!r} is not a whole number from 1")
        step = int(step_text)
    low, high = _span(span, kind, is_open=bool(slash))
    is_weekday = kind.names is WEEKDAYS
    return {value % 7 if is_weekday else value for value in range(low, high + 1, step)}


def _span(span: str, kind: _Kind, *, is_open: bool) -> tuple[int, int]:
    if span in ("*", "?"):
        return kind.low, kind.high
    first, dash, last = span.partition("-")
    low = _number(first, kind)
    if not dash:
        return low, kind.high if is_open else low
    high = _number(last, kind)
    if high < low:
        raise ValueError(f"{first} is after {last}")
    return low, high


def _number(text: str, kind: _Kind) -> int:
    if text.lower() in kind.names:
        return kind.names.index(text.lower()) + kind.low
    if not (text.isascii() and text.isdigit()):
        raise ValueError(
            f"{text!r} is not a number" + (f" or one of {', '.join(kind.names)}" if kind.names else "")
        )
    value = int(text)
    highest = 7 if kind.names is WEEKDAYS else kind.high
    if not kind.low <= value <= highest:
        raise ValueError(f"{value} is not between {kind.low} and {highest}")
    return value
