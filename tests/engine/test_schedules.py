"""When dates and schedules are due next, against looking at every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from rtcdp.aggregates import NEVER
from rtcdp.folding.schedules import next_at, next_every, spread
from rtcdp.rules.expressions.tree import Path, Span, Type
from rtcdp.rules.sending import At, Every, Moment, Zone
from rtcdp.times import zones

MINUTE = 60_000
DAY = 86_400_000
ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPRING, AUTUMN, LEAP = (
    round(datetime(*date, tzinfo=UTC).timestamp()) // 60 for date in ((2026, 3, 7), (2026, 10, 31), (2028, 2, 27))
)
PATH = Path("traits", ("born",), Type.ANY, Span(0, 0))

minutes = st.sampled_from([SPRING, AUTUMN, LEAP]).flatmap(lambda first: st.integers(first - 2000, first + 4000))
moments = st.builds(
    lambda weekday, day, minute: Moment(0 if day else weekday, day, minute * MINUTE),
    st.sampled_from([0, 0, 1, 7]),
    st.sampled_from([0, 0, 0, 1, 29, 31]),
    st.integers(0, 1439),
)


def clock(name: str, minute: int) -> datetime:
    """What the clock shows at a minute since 1970."""
    return (EPOCH + timedelta(minutes=minute)).astimezone(ZoneInfo(name))


def is_day(found: Moment, shown: datetime) -> bool:
    if found.day:
        last = (shown.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
        return shown.day == min(found.day, last.day)
    return not found.weekday or shown.isoweekday() == found.weekday


def scan(name: str, start: int, day_is: object, time: int) -> int:
    """The first minute after `start` at which the clock comes to a time of such a day, or jumps over it."""
    assert callable(day_is)
    before = clock(name, start).replace(tzinfo=None)
    seen = {before.date(): before}
    for minute in range(start - 1500, start):  # a time that comes twice is the first
        shown = clock(name, minute).replace(tzinfo=None)
        seen[shown.date()] = max(seen.get(shown.date(), shown), shown)
    minute = start
    latest = max(seen.values())
    while True:
        minute += 1
        shown = clock(name, minute).replace(tzinfo=None)
        for day in {latest.date(), shown.date()}:
            wanted = datetime(day.year, day.month, day.day) + timedelta(milliseconds=time)  # noqa: DTZ001  a wall's own clock
            if latest < wanted <= shown and day_is(wanted):
                return minute
        latest = max(latest, shown)


@example(name="America/New_York", start=SPRING, found=Moment(7, 0, 150 * MINUTE))
@example(name="America/New_York", start=AUTUMN, found=Moment(0, 0, 90 * MINUTE))
@example(name="America/New_York", start=AUTUMN + 1790, found=Moment(0, 0, 90 * MINUTE))
@given(name=st.sampled_from(ZONES), start=minutes, found=moments)
def test_schedules_are_due_when_the_clock_comes_there(name: str, start: int, found: Moment) -> None:
    place = zones.zone(name)
    assert place is not None
    due = next_every(Every((found,), Zone(None, name)), place, start * MINUTE)
    if due > (start + 10_000) * MINUTE:  # a month away: it is not scanned for, but it must be right
        shown = clock(name, due // MINUTE)
        assert is_day(found, shown)
        return
    assert due == scan(name, start, lambda day: is_day(found, day), found.time) * MINUTE


@given(
    name=st.sampled_from(ZONES),
    start=minutes,
    born=st.dates(min_value=datetime(1940, 1, 1, tzinfo=UTC).date(), max_value=datetime(2025, 12, 31, tzinfo=UTC).date()),
    time=st.integers(0, 1439),
    before=st.sampled_from([0, 0, 1, 7]),
)
def test_birthdays_are_due_once_a_year(name: str, start: int, born: object, time: int, before: int) -> None:
    place = zones.zone(name)
    assert place is not None
    schedule = At(PATH, Zone(None, name), time * MINUTE, yearly=True, before=before)
    first = next_at(schedule, str(born), place, start * MINUTE)
    second = next_at(schedule, str(born), place, first)
    assert start * MINUTE < first < second
    assert next_at(schedule, str(born), place, first - 1) == first
    assert first - start * MINUTE <= 367 * DAY
    assert 364 * DAY < second - first < 368 * DAY
    shown = clock(name, first // MINUTE) + timedelta(days=before)
    month, day = str(born)[5:7], str(born)[8:]
    assert f"{shown.month:02d}-{shown.day:02d}" in {f"{month}-{day}", "02-28" if f"{month}-{day}" == "02-29" else ""}
    if shown.hour * 60 + shown.minute != time:  # the clock jumped over it
        assert clock(name, first // MINUTE - 1).utcoffset() != clock(name, first // MINUTE).utcoffset()


def test_what_is_no_date_is_never_due() -> None:
    place = zones.zone("UTC")
    assert place is not None
    schedule = At(PATH, Zone(None), yearly=True)
    for value in (
        None,
        "",
        "tomorrow",
        True,
        [],
        {},
        10**18,
        -(10**18),
        "9999-12-31T23:59:59+14:00",
        "0001-01-01T00:00:00+14:00",
    ):
        assert next_at(schedule, value, place, 1_800_000_000_000) == NEVER, value


def test_spreading_is_even_and_stays() -> None:
    late = [spread(f"main/user_id:{number}", "digest", 7_200_000) for number in range(2000)]
    assert late == [spread(f"main/user_id:{number}", "digest", 7_200_000) for number in range(2000)]
    tenths = [sum(1 for one in late if one * 10 // 7_200_000 == tenth) for tenth in range(10)]
    assert min(tenths) > 150
    assert max(tenths) < 250
    assert spread("x", "digest", 0) == 0
