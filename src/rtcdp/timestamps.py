"""Times as producers write them (RFC 3339, epoch numbers) to integer milliseconds UTC, and back.

Nothing here reads a clock.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

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


def render(milliseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds. Raises OverflowError outside the years 1 to 9999."""
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z".rjust(24, "0")


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
