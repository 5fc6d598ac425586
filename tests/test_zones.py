"""Calendar periods: midnights of days on which clocks change, leap days, the ends of what the calendar knows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcdp.simulate import bruteforce
from rtcdp.times import zones
from rtcdp.times.zones import PERIODS, Calendar

HOUR = 3_600_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "inside", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T10:00:00", "2026-03-28T23:00:00", 23),
        ("Europe/Berlin", "2026-10-25T10:00:00", "2026-10-24T22:00:00", 25),
        ("America/New_York", "2026-03-08T12:00:00", "2026-03-08T05:00:00", 23),
        ("America/New_York", "2026-11-01T12:00:00", "2026-11-01T04:00:00", 25),
        ("Asia/Shanghai", "2026-03-29T10:00:00", "2026-03-28T16:00:00", 24),
        ("America/Havana", "2026-03-08T12:00:00", "2026-03-08T05:00:00", 23),  # midnight is skipped
        ("Africa/Cairo", "2026-04-24T12:00:00", "2026-04-23T22:00:00", 23),  # there too
        ("America/Sao_Paulo", "2018-11-04T12:00:00", "2018-11-04T03:00:00", 23),
        ("America/Sao_Paulo", "2018-02-17T20:00:00", "2018-02-17T02:00:00", 25),
        ("Australia/Lord_Howe", "2026-04-05T12:00:00", "2026-04-04T13:00:00", 24.5),
        ("Asia/Kathmandu", "2026-01-01T12:00:00", "2025-12-31T18:15:00", 24),
    ],
)
def test_a_day_is_as_long_as_the_clocks_say(zone: str, inside: str, start: str, hours: float) -> None:
    found = Calendar("day", zone).period(ms(inside))
    assert found == (ms(start), ms(start) + round(hours * HOUR))


@pytest.mark.parametrize("zone", ["America/Havana", "Europe/Berlin", "Asia/Shanghai", "Pacific/Apia", "UTC"])
@pytest.mark.parametrize("unit", PERIODS)
@given(instant=st.integers(ms("1970-01-02T00:00:00"), ms("2100-12-30T00:00:00")))
def test_periods_are_those_that_the_clocks_show(unit: str, zone: str, instant: int) -> None:
    start, end = Calendar(unit, zone).period(instant)
    assert start <= instant < end
    name = bruteforce._period(unit, zone, instant)
    assert bruteforce._period(unit, zone, start) == name == bruteforce._period(unit, zone, end - 1)
    assert bruteforce._period(unit, zone, end) != name
    assert bruteforce._period(unit, zone, start - 1) != name


def test_what_has_begun_goes_on_where_clocks_are_put_back_over_midnight() -> None:
    """In Newfoundland until 2011, one minute after midnight became one minute after eleven."""
    calendar = Calendar("day", "America/St_Johns")
    instant, seen = ms("2010-11-06T12:00:00"), []
    while instant < ms("2010-11-08T12:00:00"):
        start, end = calendar.period(instant)
        assert start <= instant < end
        seen.append((start, end))
        instant += 600_000
    assert seen == sorted(seen)


def test_the_calendar_ends_quietly() -> None:
    for instant in (-(1 << 61), 1 << 61):
        start, end = Calendar("day", "UTC").period(instant)
        assert start <= instant < end


def test_zones_are_those_of_the_package() -> None:
    assert "Asia/Shanghai" in zones.names()
    assert zones.zone("../../etc/passwd") is None
    assert all(zones.zone(name) is not None for name in sorted(zones.names())[::37])
