"""What features mean, with plain loops: every event is kept, and every value is computed from all of them.

Written from the language alone, to hold the incremental aggregates against: nothing of them is imported. Slow on purpose.
Times and durations are ms.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

HOUR = 3_600_000
ANY = "*"
NO_PAGE = "\0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Expression = tuple[Any, ...]
Holds = Callable[[Expression, Any], bool]


@dataclass(frozen=True)
class Entry:
    """One value of one event: when it occurred, the event's id, its place in an array, the value."""

    at: int
    id: str
    place: int
    value: Any


@dataclass(frozen=True)
class Happening:
    """One event. arrived: the profile's time when it came."""

    at: int
    arrived: int
    id: str
    event: str
    properties: dict[str, Any] = field(default_factory=dict)
    channel: str = ""
    source: Any = None


@dataclass(frozen=True)
class StepSpec:
    """One item of a sequence."""

    events: tuple[str, ...]
    where: Expression | None = None
    excluded: bool = False


@dataclass(frozen=True)
class FeatureSpec:
    """A feature as plain data. Paths are names of properties; "name[]" fans out.

    within, offset: the window `(now - within, now - offset]`. during: (unit, zone).
    reset_on, spend: names of events. per_session, gap, gaps: see the language. steps: of a sequence.
    """

    kind: str
    events: tuple[str, ...]
    value: str | None = None
    where: Expression | None = None
    within: int | None = None
    offset: int = 0
    during: tuple[str, str] | None = None
    by: str | None = None
    reset_on: tuple[str, ...] = ()
    per_session: bool = False
    gap: int = 30 * 60_000
    gaps: tuple[tuple[str, int], ...] = ()
    steps: tuple[StepSpec, ...] = ()
    strict: bool = False
    restart: bool = False
    same: str | None = None
    spend: tuple[str, ...] = ()
    expire: int = 0


def number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
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
    """A fraction as a number: an int where it is whole."""
    return int(value) if value.denominator == 1 else float(value)


def find(value: dict[str, Any], path: str) -> Any:
    """A property; `name[]` gives the list, without what is missing."""
    found = value.get(path.removesuffix("[]"))
    if path.endswith("[]"):
        return [item for item in found if item is not None] if isinstance(found, list) else None
    return found


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


def feature(spec: FeatureSpec, events: Sequence[Happening], now: int, holds: Holds) -> Any:
    """The value of a feature at `now`, from all events that have come. holds: whether a condition holds of an event."""
    if spec.kind == "sequence":
        return _sequence(spec, events, now, holds)
    if spec.kind == "balance":
        return _balance(spec, events, now, holds)
    counted = [event for event in events if _named(spec.events, event) and _passes(spec.where, event, holds)]
    if spec.kind == "dwell":
        return _dwell(spec, events, counted)
    if spec.kind in ("sessions", "bounces", "time_spent"):
        return _session_statistic(spec, counted, now)
    if spec.per_session:
        current = _current_session(spec, events, now)
        counted = [event for event in counted if event in current]
    if spec.reset_on:
        reset = max((event.at for event in events if _named(spec.reset_on, event)), default=-1)
        counted = [event for event in counted if event.at > reset and not _named(spec.reset_on, event)]
    if spec.within is not None:
        counted = [event for event in counted if now - spec.within < event.at <= now - spec.offset]
    if spec.during is not None:
        counted = [event for event in counted if _period(*spec.during, event.at) == _period(*spec.during, now)]
    return _aggregated(spec, counted)


def _named(names: tuple[str, ...], event: Happening) -> bool:
    return ANY in names or event.event in names


def _passes(where: Expression | None, event: Happening, holds: Holds) -> bool:
    return where is None or holds(where, event.source)


def _items(event: Happening, path: str | None) -> list[Any]:
    if path is None:
        return [None]
    found = find(event.properties, path)
    return [item for item in (found if isinstance(found, list) else [found]) if item is not None]


def _aggregated(spec: FeatureSpec, events: Sequence[Happening]) -> Any:
    parts: dict[str, list[Entry]] = {}
    for event in events:
        keys = [""] if spec.by is None else sorted({spell(key) for key in _items(event, spec.by)})
        for key in keys:
            values = _items(event, spec.value)
            parts.setdefault(key, []).extend(Entry(event.at, event.id, place, value) for place, value in enumerate(values))
    if spec.by is None:
        return aggregate(spec.kind, parts.get("", []))
    found = {key: aggregate(spec.kind, entries) for key, entries in parts.items()}
    nothing = aggregate(spec.kind, [])
    return {key: value for key, value in found.items() if value != nothing}


def nothing_of(spec: FeatureSpec) -> Any:
    """The value of a key that was never seen."""
    return 0 if spec.kind == "dwell" else aggregate(spec.kind, [])


# ---- calendar periods ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=100_000)
def _period(unit: str, zone: str, ms: int) -> tuple[int, ...]:
    """What names the period that holds an instant."""
    local = (_EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo(zone))
    week = local.isocalendar()
    return {
        "day": (local.year, local.month, local.day),
        "week": (week.year, week.week),
        "month": (local.year, local.month),
        "quarter": (local.year, (local.month + 2) // 3),
        "year": (local.year,),
    }[unit]


@lru_cache(maxsize=10_000)
def period_end(unit: str, zone: str, ms: int) -> int:
    """The first instant of the next period, found by looking."""
    before, name = ms, _period(unit, zone, ms)
    while _period(unit, zone, before + 6 * HOUR) == name:
        before += 6 * HOUR
    return before + bisect_left(range(6 * HOUR), 1, key=lambda after: int(_period(unit, zone, before + after) != name))


# ---- sessions --------------------------------------------------------------------------------------------------------


def _sessions(spec: FeatureSpec, events: Sequence[Happening]) -> list[tuple[list[Happening], int]]:
    """Runs of events, each with the gap that ends it."""
    gaps = dict(spec.gaps)
    found = []
    for channel in sorted(gaps) if gaps else [None]:
        gap = spec.gap if channel is None else gaps[channel]
        runs: list[list[Happening]] = []
        for event in sorted((event for event in events if channel in (None, event.channel)), key=lambda event: event.at):
            if runs and event.at - runs[-1][-1].at < gap:
                runs[-1].append(event)
            else:
                runs.append([event])
        found += [(run, gap) for run in runs]
    return found


def _current_session(spec: FeatureSpec, events: Sequence[Happening], now: int) -> list[Happening]:
    live = [run for run, gap in _sessions(spec, events) if run[-1].at + gap > now]
    return max(live, key=lambda run: run[-1].at) if live else []  # of equals the first channel by name


def _session_statistic(spec: FeatureSpec, events: Sequence[Happening], now: int) -> int:
    if spec.per_session:
        current = _current_session(spec, events, now)
        return current[-1].at - current[0].at if current else 0
    if spec.within is not None:  # what comes when its window has passed is no part of anything
        events = [event for event in events if event.at > event.arrived - spec.within]
    runs = [(run, gap) for run, gap in _sessions(spec, events) if spec.within is None or run[-1].at > now - spec.within]
    if spec.kind == "sessions":
        return len(runs)
    if spec.kind == "bounces":
        return sum(1 for run, gap in runs if len(run) == 1 and run[0].at + gap <= now)
    return sum(run[-1].at - run[0].at for run, _ in runs)


def _dwell(spec: FeatureSpec, events: Sequence[Happening], counted: Sequence[Happening]) -> Any:
    named = []
    for event in events:
        found = "" if spec.by is None else event.properties.get(spec.by)
        counts = event in counted and found is not None and not isinstance(found, list)
        named.append((event.at, spell(found) if counts else NO_PAGE))
    named.sort()
    totals: dict[str, int] = {}
    for place in range(len(named) - 1):
        (at, name), after = named[place], named[place + 1][0]
        if name != NO_PAGE and 0 < after - at < spec.gap:
            totals[name] = totals.get(name, 0) + after - at
    return totals.get("", 0) if spec.by is None else totals


# ---- balances --------------------------------------------------------------------------------------------------------


def _balance(spec: FeatureSpec, events: Sequence[Happening], now: int, holds: Holds) -> float | int:
    amounts = []
    for event in events:
        for names, where, sign in ((spec.events, spec.where, 1), (spec.spend, None, -1)):
            found = _items(event, spec.value) if _named(names, event) and _passes(where, event, holds) else []
            amounts += [(event.at, -sign * millionths(item)) for item in found if number(item) and millionths(item) > 0]
    lots: list[list[int]] = []
    for at, turned in sorted(amounts):
        if turned < 0:
            lots.append([at, -turned])
        spent = max(turned, 0)
        for lot in lots:
            if not spec.expire or lot[0] + spec.expire > at:
                taken = min(spent, lot[1])
                lot[1] -= taken
                spent -= taken
    left = sum(amount for at, amount in lots if not spec.expire or at + spec.expire > now)
    return plain(Fraction(left, 1_000_000))


# ---- sequences -------------------------------------------------------------------------------------------------------


def _sequence(spec: FeatureSpec, events: Sequence[Happening], now: int, holds: Holds) -> int:
    rows: dict[str, list[tuple[int, int]]] = {}
    for event in events:
        if not _passes(spec.where, event, holds) or (spec.within is not None and event.at <= now - spec.within):
            continue
        mark = 0
        for place, step in enumerate(spec.steps):
            if _named(step.events, event) and _passes(step.where, event, holds):
                mark += 1 << place
        if not mark and not spec.strict:
            continue
        if spec.same is None:
            rows.setdefault("", []).append((event.at, mark))
            continue
        for key in {spell(item) for item in _items(event, spec.same)}:
            rows.setdefault(key, []).append((event.at, mark))
    reach = _latest_attempt if spec.restart else _furthest
    return max((reach(spec, [mark for _, mark in sorted(row)]) for row in rows.values()), default=0)


def _furthest(spec: FeatureSpec, marks: list[int]) -> int:
    """By looking at every pair of events."""
    positive = [place for place, step in enumerate(spec.steps) if not step.excluded]
    reached = [n for n, mark in enumerate(marks) if mark >> positive[0] & 1]
    furthest = 0
    for count, (before, after) in enumerate(zip(positive, [*positive[1:], len(spec.steps)], strict=True), 1):
        if not reached:
            return furthest
        furthest = count
        if count == len(positive):
            return furthest
        barred = sum(1 << place for place in range(before + 1, after))
        reached = [
            other
            for other, mark in enumerate(marks)
            if mark >> after & 1
            and any(
                n < other and not any(marks[m] & barred for m in range(n + 1, other)) and (other == n + 1 or not spec.strict)
                for n in reached
            )
        ]
    return furthest


def _latest_attempt(spec: FeatureSpec, marks: list[int]) -> int:
    positive = [place for place, step in enumerate(spec.steps) if not step.excluded]
    step = 0
    for mark in marks:
        going = 0 < step < len(positive)
        if going and mark >> positive[step] & 1:
            step += 1
        elif mark >> positive[0] & 1:
            step = 1
        elif going and (spec.strict or any(mark >> place & 1 for place in range(positive[step - 1] + 1, positive[step]))):
            step = 0
    return step


# ---- time ------------------------------------------------------------------------------------------------------------


def instants(spec: FeatureSpec, events: Sequence[Happening], now: int) -> Iterator[int]:
    """Every instant after which the value may differ if nothing comes, and perhaps more."""
    delays = {spec.within, spec.offset, spec.expire, *dict(spec.gaps).values()} - {None, 0}
    if spec.per_session or spec.kind == "bounces":
        delays.add(spec.gap)
    for event in events:
        for delay in delays:
            if delay is not None:
                yield event.at + delay
    if spec.during is not None:
        yield period_end(*spec.during, now)
