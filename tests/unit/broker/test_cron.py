"""Cron patterns: what is read, what is refused and why, and when they fire, summer time included."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.broker.cron import parse_cron
from outrider.broker.errors import InvalidTask

BERLIN = ZoneInfo("Europe/Berlin")


def fires(text: str, after: str, zone: ZoneInfo, times: int) -> list[str]:
    pattern, instant, found = parse_cron(text), datetime.fromisoformat(after).timestamp(), []
    for _ in range(times):
        following = pattern.next_after(instant, zone)
        assert following is not None
        instant = following
        found.append(datetime.fromtimestamp(instant, zone).isoformat())
    return found


def test_five_fields_get_a_second_and_six_stay_as_they_are() -> None:
    assert parse_cron("30 9 * * mon-fri").pattern == "0 30 9 * * mon-fri"
    assert parse_cron("*/5 30 9 1,15 JAN *").pattern == "*/5 30 9 1,15 JAN *"
    assert parse_cron("@daily").pattern == "0 0 0 * * *"
    assert parse_cron("0 0 * * 7").pattern == "0 0 0 * * 0"
    assert parse_cron("0 0 * * 5-7").pattern == "0 0 0 * * 0,5,6"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("* * *", "has 3 fields instead of 5 or 6"),
        ("", "has 0 fields"),
        ("60 * * * *", "minute '60': 60 is not between 0 and 59"),
        ("* 24 * * *", "hour '24': 24 is not between 0 and 23"),
        ("* * 0 * *", "day of month '0': 0 is not between 1 and 31"),
        ("* * * foo *", "month 'foo': 'foo' is not a number or one of jan, feb"),
        ("* * * * 8", "day of week '8': 8 is not between 0 and 7"),
        ("*/0 * * * *", "step '0' is not a whole number from 1"),
        ("5-2 * * * *", "5 is after 2"),
        ("1,,2 * * * *", "'' is not a number"),
        ("-1 * * * *", "'' is not a number"),
        ("@often", "has 1 fields"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(InvalidTask) as raised:
        parse_cron(text)
    assert says in raised.value.message


def test_workdays_at_half_past_nine() -> None:
    assert fires("30 9 * * mon-fri", "2026-11-20T12:00:00+01:00", BERLIN, 2) == [
        "2026-11-23T09:30:00+01:00",
        "2026-11-24T09:30:00+01:00",
    ]


def test_day_and_weekday_together_mean_either() -> None:
    assert fires("0 0 13 * fri", "2026-11-01T00:00:00+01:00", BERLIN, 3) == [
        "2026-11-06T00:00:00+01:00",
        "2026-11-13T00:00:00+01:00",
        "2026-11-20T00:00:00+01:00",
    ]


def test_the_leap_day_and_a_day_that_never_comes() -> None:
    assert fires("0 0 29 2 *", "2026-01-01T00:00:00+00:00", ZoneInfo("UTC"), 1) == [
        "2028-02-29T00:00:00+00:00"
    ]
    assert parse_cron("0 0 30 2 *").next_after(0.0, UTC) is None


def test_the_hour_that_is_skipped_in_spring_does_not_fire() -> None:
    assert fires("30 2 * * *", "2027-03-27T12:00:00+01:00", BERLIN, 1) == ["2027-03-29T02:30:00+02:00"]


def test_the_hour_that_comes_twice_in_autumn_fires_twice() -> None:
    assert fires("30 2 * * *", "2027-10-30T12:00:00+02:00", BERLIN, 3) == [
        "2027-10-31T02:30:00+02:00",
        "2027-10-31T02:30:00+01:00",
        "2027-11-01T02:30:00+01:00",
    ]


def test_every_fifteen_minutes_goes_on_through_the_change() -> None:
    instants = fires("*/15 * * * *", "2027-03-28T01:40:00+01:00", BERLIN, 3)
    assert instants == ["2027-03-28T01:45:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-28T03:15:00+02:00"]


@given(st.text(alphabet="0123456789*/,-? adejmnou@", max_size=30))
def test_any_text_is_read_or_refused_clearly(text: str) -> None:
    try:
        pattern = parse_cron(text)
    except InvalidTask:
        return
    assert len(pattern.pattern.split()) == 6
    following = pattern.next_after(1_800_000_000.0, BERLIN)
    assert following is None or following > 1_800_000_000.0
