"""Time zones and the calendar in them. The rules come from the pinned package `tzdata`, never from the machine.

So the same log gives the same periods on every machine. Nothing here reads a clock.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from rtcdp.times.timestamps import EPOCH, MILLISECOND

PERIODS = ("day", "week", "month", "quarter", "year")
_NEVER = 1 << 62


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Every name of a zone, as `Asia/Shanghai`."""
    return frozenset((resources.files("tzdata") / "zones").read_text("utf-8").split())


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo | None:
    """The zone of a name; None where there is none."""
    if name not in names():
        return None
    file = resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
    with file.open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def local(ms: int, place: ZoneInfo) -> datetime:
    """An instant as the clocks of a zone show it. Raises OverflowError outside the years 1 to 9999."""
    return (EPOCH + timedelta(milliseconds=ms)).astimezone(place)


def instant(moment: datetime) -> int:
    """The instant (ms) of a moment with a zone.

    What a clock shows twice is its first time; what it skips is the instant at which it skips.
    """
    return (moment.astimezone(UTC) - EPOCH) // MILLISECOND


def _first_day(day: date, unit: str) -> date:
    """The first day of the period that holds a day. Weeks begin on Monday."""
    if unit == "day":
        return day
    if unit == "week":
        return day - timedelta(days=day.weekday())
    month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[unit]
    return date(day.year, month, 1)


def _following(first: date, unit: str) -> date:
    """The first day of the next period."""
    if unit in ("day", "week"):
        return first + timedelta(days=1 if unit == "day" else 7)
    months = first.year * 12 + first.month - 1 + {"month": 1, "quarter": 3, "year": 12}[unit]
    return date(months // 12, months % 12 + 1, 1)


def _midnight(day: date, place: ZoneInfo) -> int:
    """The first instant of a day: where clocks skip midnight, the instant at which they do."""
    return instant(datetime(day.year, day.month, day.day, tzinfo=place))


class Calendar:
    """The calendar periods of a zone.

    unit: one of PERIODS.
    name: of a zone of `names()`.
    """

    def __init__(self, unit: str, name: str) -> None:
        self.unit = unit
        self.name = name
        found = zone(name)
        if found is None or unit not in PERIODS:
            raise ValueError(f"{unit}, {name}")
        self._zone = found
        self._start, self._end = 0, 0

    def period(self, ms: int) -> tuple[int, int]:
        """The first instant of the period that holds `ms`, and that of the next (ms).

        What lies outside the years 1 to 9999 is one endless period.
        """
        if not self._start <= ms < self._end:  # what was asked for last is usually asked for again
            try:
                self._find(ms)
            except (OverflowError, ValueError):
                return -_NEVER, _NEVER
        return self._start, self._end

    def _find(self, ms: int) -> None:
        first = _first_day(local(ms, self._zone).date(), self.unit)
        following = _following(first, self.unit)
        start, end = _midnight(first, self._zone), _midnight(following, self._zone)
        if ms >= end:  # clocks were put back over midnight: what has begun goes on
            start, end = end, _midnight(_following(following, self.unit), self._zone)
        self._start, self._end = start, end
