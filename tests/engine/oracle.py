"""What the language means, with plain loops: every event of a profile is kept, and everything is computed from all of them.

Written from the language alone; nothing of the engine is imported. Definitions are plain data (`Spec`), which `texts` spells
as the sections of a definitions folder. Expressions are nested tuples:

    ("feature", name) ("tag", name) ("trait", name) ("since", feature) ("segment", name) ("constant", value)
    ("property", name)                         of an event
    ("compare", operator, left, right) ("and", ...) ("or", ...) ("not", x) ("missing", x) ("if", test, then, otherwise)
    ("+", left, right) and the same for - * /
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

DAY = 86_400_000
SEEN_MOST = 64
Expression = tuple[Any, ...]


# ---- aggregates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One value of one event: when it occurred, the event's id, its place in an array, the value."""

    at: int
    id: str
    place: int
    value: Any


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache(maxsize=4096)
def millionths(value: float) -> int:
    """A number as it counts in sums: in millionths, halves to even."""
    written = Fraction(repr(value)) if abs(value) < 2**53 else Fraction(value)  # from there on a float is a whole number
    return round(written * 1_000_000)


def spell(value: Any) -> str:
    """By what values are told apart: 1 is 1.0, but neither true nor '1'."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return "\0" + json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def plain(value: Fraction) -> float | int:
    return int(value) if value.denominator == 1 else float(value)


def aggregate(kind: str, entries: Sequence[Entry]) -> Any:
    """The value of an aggregate over these entries; None is missing."""
    if kind == "count":
        return len({(entry.at, entry.id) for entry in entries})
    ordered = sorted(entries, key=lambda entry: (entry.at, entry.id, entry.place))
    numbers = [entry.value for entry in entries if number(entry.value)]
    if kind == "sum":
        return plain(Fraction(sum(map(millionths, numbers)), 1_000_000))
    if kind == "avg":
        return float(Fraction(sum(map(millionths, numbers)), 1_000_000 * len(numbers))) if numbers else None
    if kind in ("min", "max"):
        return (min if kind == "min" else max)(numbers, default=None)
    if kind in ("first", "last"):
        return ordered[0 if kind == "first" else -1].value if ordered else None
    if kind in ("first_time", "last_time"):
        return ordered[0 if kind == "first_time" else -1].at if ordered else None
    kinds: dict[str, list[Entry]] = {}
    for entry in entries:
        kinds.setdefault(spell(entry.value), []).append(entry)
    if kind == "unique":
        return len(kinds)
    if kind == "most_frequent":
        if not kinds:
            return None
        best = min(kinds, key=lambda text: (-len(kinds[text]), max(entry.at for entry in kinds[text]), text))
        return kinds[best][0].value
    raise ValueError(kind)
