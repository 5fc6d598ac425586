"""Times as producers write them (RFC 3339, epoch numbers) to integer milliseconds UTC, and back.

Nothing here reads a clock.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

# Events are not older than this: a clock that was never set says 1970, some devices 1980.
EARLIEST = 946_684_800_000  # 2000-01-01T00:00:00Z
LATEST = 4_102_444_800_000  # 2100-01-01T00:00:00Z, the first instant that is too late

# An epoch number's unit is told by its size; each border lies more than a thousand years away in the smaller unit.
_SECONDS_BELOW = 10**11
_MILLISECONDS_BELOW = 10**14
_MICROSECONDS_BELOW = 10**17
_NANOSECONDS_BELOW = 10**20

# What RFC 3339 can write: the years 1 to 9999.
_FIRST = -62_135_596_800_000
_END = 253_402_300_800_000

_TWO = tuple(f"{number:02d}" for number in range(100))
_THREE = tuple(f"{number:03d}" for number in range(1000))

_NUMERIC = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?", re.ASCII)
_RFC3339 = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?P<minute>\d{2}:\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,30}))?)?"
    r" ?(?P<zone>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)


def parse(value: object) -> int | None:
    """Milliseconds since 1970 UTC, or None where `value` is no time.

    Text: RFC 3339 with any offset (UTC where it has none; also with a space, a lower-case `t` or `z`, a comma, a
    leap second, or a date alone), or a number as text. Numbers: seconds below 1e11, milliseconds below 1e14,
    microseconds below 1e17, nanoseconds below 1e20. What is finer than a millisecond is cut off.
    """
    kind = type(value)
    if kind is str:
        text: str = value  # type: ignore[assignment]  # just checked, by identity for speed
        if len(text) >= 19 and text[4] == "-" and text[10] == "T":
            try:
                moment = datetime.fromisoformat(text)
                if moment.tzinfo is None:
                    moment = moment.replace(tzinfo=UTC)
                return (moment - EPOCH) // MILLISECOND
            except ValueError:
                pass
        return _parse_unusual(text.strip())
    if kind is int:
        return _epoch_int(value)  # type: ignore[arg-type]  # just checked
    if kind is float:
        return _epoch_float(value)  # type: ignore[arg-type]  # just checked
    return None


def has_offset(text: str) -> bool:
    """Whether a time written as text names its offset (numbers always mean UTC)."""
    match = _RFC3339.fullmatch(text.strip())
    return match is None or match["zone"] is not None


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC with milliseconds. What every output needs: fast, and for any instant."""
    minutes, rest = divmod(ms, 60_000)
    return f"{_minute(minutes)}{_TWO[rest // 1000]}.{_THREE[rest % 1000]}Z"


def render(ms: int) -> str:
    """As `rfc3339`. Raises OverflowError outside the years 1 to 9999, which no reader would take."""
    if not _FIRST <= ms < _END:
        raise OverflowError(ms)
    return rfc3339(ms)


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    """Days since 1970 as `YYYY-MM-DD`: Howard Hinnant, `civil_from_days`, proleptic Gregorian, for any day."""
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    return f"{year_of_era + era * 400 + (month <= 2):04d}-{month:02d}-{day:02d}"


@lru_cache(maxsize=65_536)
def _minute(minutes: int) -> str:
    """Minutes since 1970 as `YYYY-MM-DDTHH:MM:`."""
    days, minute = divmod(minutes, 1440)
    return f"{_date(days)}T{_TWO[minute // 60]}:{_TWO[minute % 60]}:"


def _parse_unusual(text: str) -> int | None:
    if _NUMERIC.fullmatch(text):
        return _epoch_float(float(text)) if "." in text else _epoch_int(int(text))
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    second = match["second"] or "00"
    leap = second == "60"  # a leap second counts as the last instant of the second before it
    fraction = "999" if leap else (match["fraction"] or "0")[:6]
    zone = (match["zone"] or "Z").upper()
    try:
        moment = datetime.fromisoformat(
            f"{match['date']}T{match['minute'] or '00:00'}:{'59' if leap else second}.{fraction.ljust(6, '0')}{zone}"
        )
        return (moment - EPOCH) // MILLISECOND
    except ValueError:
        return None


def _epoch_int(number: int) -> int | None:
    size = abs(number)
    if size < _SECONDS_BELOW:
        return number * 1000
    if size < _MILLISECONDS_BELOW:
        return number
    if size < _MICROSECONDS_BELOW:
        return number // 1000
    if size < _NANOSECONDS_BELOW:
        return number // 1_000_000
    return None


def _epoch_float(number: float) -> int | None:
    """As for whole numbers; rounded, because most decimal fractions of a second have no exact binary form."""
    if not math.isfinite(number):
        return None
    if abs(number) < _SECONDS_BELOW:
        return round(number * 1000)
    return _epoch_int(round(number))
