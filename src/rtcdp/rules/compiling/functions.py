"""The functions of the language, as plain Python. None is missing: a function of something missing is missing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from rtcdp.aggregates import top

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_number(value: Any) -> bool:
    """A number and not a boolean: types never coerce."""
    return type(value) in (int, float)


def moment(value: Any) -> datetime | None:
    """A time (ms) or a text in ISO 8601 as a datetime in UTC; None for anything else."""
    if is_number(value):
        try:
            return _EPOCH + timedelta(milliseconds=value)
        except OverflowError:
            return None
    if type(value) is str:
        try:
            parsed = datetime.fromisoformat(value)
            return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
        except (ValueError, OverflowError):  # not a time, or in UTC before the year 1 or after 9999
            return None
    return None


def _calendar(read: Callable[[datetime], Any]) -> Callable[[Any], Any]:
    def function(value: Any) -> Any:
        when = moment(value)
        return None if when is None else read(when)

    return function


def _text(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: read(value) if type(value) is str else None


def contains(whole: Any, part: Any) -> bool:
    """Whether a text contains a text, or a list (a frozenset where it is one of `lists:`) an item."""
    if type(whole) is str:
        return type(part) is str and part in whole
    if isinstance(whole, frozenset):
        return type(part) is str and part in whole
    return isinstance(whole, list | tuple) and any(same(item, part) for item in whole)


def same(one: Any, other: Any) -> bool:
    """Equality without coercion: 1 is not true, 1 is 1.0, and nothing equals a missing value."""
    if one is None or other is None:
        return False
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def length(value: Any) -> int | None:
    """Characters of a text or items of a list."""
    return len(value) if isinstance(value, str | list | tuple | dict) else None


def round_half_even(value: Any, digits: Any = 0) -> Any:
    """`round(x)` and `round(x, digits)`."""
    if not is_number(value):
        return None
    return round(value, int(digits)) if digits else round(value)


def _numbers(arguments: tuple[Any, ...]) -> list[Any]:
    items = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list | tuple) else arguments
    return [item for item in items if is_number(item)]


def smallest(*arguments: Any) -> Any:
    """Smallest number of a list or of the arguments; missing ones are passed over."""
    return min(_numbers(arguments), default=None)


def largest(*arguments: Any) -> Any:
    """Largest number of a list or of the arguments; missing ones are passed over."""
    return max(_numbers(arguments), default=None)


def total(*arguments: Any) -> Any:
    """Sum of the numbers of a list or of the arguments; missing where that is no number that a float can hold."""
    try:
        found = sum(_numbers(arguments))
    except OverflowError:
        return None
    return found if type(found) is not float or isfinite(found) else None


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "lower": _text(str.casefold),
    "contains": contains,
    "starts_with": lambda text, part: type(text) is str and type(part) is str and text.startswith(part),
    "ends_with": lambda text, part: type(text) is str and type(part) is str and text.endswith(part),
    "length": length,
    "month": _calendar(lambda when: when.month),
    "weekday": _calendar(datetime.isoweekday),
    "hour": _calendar(lambda when: when.hour),
    "day": _calendar(lambda when: when.date().isoformat()),
    "round": round_half_even,
    "min": smallest,
    "max": largest,
    "any": lambda value: any(item is True for item in _items(value)),
    "all": lambda value: all(item is True for item in _items(value)),
    "sum": total,
    "coalesce": lambda *arguments: next((item for item in arguments if item is not None), None),
    "missing": lambda value: value is None,
    "top": top,
}
