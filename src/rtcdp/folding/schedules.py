"""Triggers that the calendar starts: `at` a date of the profile, `every` so often for the members of a segment.

A profile keeps, under the trigger's key, when it is due next. That is set when the trait or the membership changes.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from xxhash import xxh3_64_intdigest

from rtcdp.aggregates import NEVER
from rtcdp.rules.compiling.functions import is_number, moment
from rtcdp.rules.sending import At, Every, Moment
from rtcdp.times.wall_clock import DAY_MS, instants, local
from rtcdp.times.zones import zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rtcdp.folding.outbox import Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiling.compiled import Rule
    from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger, CompiledZone
    from rtcdp.rules.compiling.gates import Rules

_FIRST = date(1970, 1, 1)


def look(rule: Rule, profile: Profile, outbox: Outbox, starts: list[CompiledTrigger]) -> Rules:  # noqa: ARG001  one of several
    """Set when a trigger is due next, after what it reads has changed. Nothing reads that."""
    assert rule.trigger is not None  # noqa: S101  only such rules come here
    arm(profile, rule.trigger)
    return ()


def arm(profile: Profile, trigger: CompiledTrigger) -> None:
    """Set when a trigger is due next, after the profile's time."""
    due = _next(profile, trigger)
    if due >= NEVER:
        profile.schedules.pop(trigger.key, None)
        return
    profile.schedules[trigger.key] = due
    profile.wake_at = min(profile.wake_at, due)


def due(profile: Profile, triggers: Mapping[str, CompiledTrigger]) -> list[tuple[CompiledTrigger, int]]:
    """Take the triggers that are due at the profile's time, in their order, each with when it was; set when they are next."""
    found = [(triggers[key], at) for key, at in profile.schedules.items() if at <= profile.now]
    for trigger, _ in found:
        arm(profile, trigger)
    return sorted(found, key=lambda entry: entry[0].index)


def _next(profile: Profile, trigger: CompiledTrigger) -> int:
    schedule, where = trigger.schedule, trigger.zone
    assert where is not None  # noqa: S101  every schedule has one
    if isinstance(schedule, At):
        value = trigger.date(profile, None) if trigger.date is not None else None
        return next_at(schedule, value, local_zone(profile, where), profile.now)
    assert schedule is not None  # noqa: S101  a trigger without one never comes here
    if trigger.within not in profile.segments:
        return NEVER
    late = spread(profile.key, trigger.name, schedule.over)
    return next_every(schedule, local_zone(profile, where), profile.now - late) + late


def local_zone(profile: Profile, where: CompiledZone) -> ZoneInfo:
    """The zone that the profile names, else the default."""
    name = where.read(profile, None) if where.read is not None else None
    return (zone(name) if type(name) is str else None) or where.default


def spread(key: str, name: str, over: int) -> int:
    """How long (ms, below `over`) after the others this profile comes: always the same for one trigger."""
    return xxh3_64_intdigest(f"{key}\0every\0{name}".encode()) % over if over else 0


def next_every(schedule: Every, where: ZoneInfo, after: int) -> int:
    """The first instant of a schedule later than `after` (ms)."""
    today = local(where, after) // DAY_MS
    return min(
        instant
        for found in schedule.moments
        for day in _days(found, today)
        if (instant := instants(where, day * DAY_MS + found.time)[0]) > after
    )


def _days(found: Moment, today: int) -> Iterator[int]:
    """Days (since 1970) of a moment around today, enough of them that one is later."""
    if not found.day:
        yield from (day for day in range(today - 1, today + 9) if not found.weekday or (day + 3) % 7 + 1 == found.weekday)
        return
    this = _FIRST + timedelta(days=today)
    for ahead in range(-1, 3):
        month = this.year * 12 + this.month - 1 + ahead
        first, last = date(month // 12, month % 12 + 1, 1), date((month + 1) // 12, (month + 1) % 12 + 1, 1)
        yield (first - _FIRST).days + min(found.day, (last - first).days) - 1


def next_at(schedule: At, value: Any, where: ZoneInfo, after: int) -> int:
    """The first instant later than `after` (ms) of the date that a trait holds; NEVER where it holds none, or it is over.

    29 February is 28 February in other years.
    """
    try:
        shown = _shown(value, where)
        if shown is None:
            return NEVER
        time = shown % DAY_MS if schedule.time is None else schedule.time
        days = [shown // DAY_MS]
        if schedule.yearly:
            born = _FIRST + timedelta(days=days[0])
            year = (_FIRST + timedelta(days=local(where, after) // DAY_MS)).year
            days = [_anniversary(born, year + ahead) for ahead in (-1, 0, 1, 2) if year + ahead >= born.year]
        found = [instants(where, (day - schedule.before) * DAY_MS + time)[0] for day in days]
    except (OverflowError, ValueError):  # a year that no calendar has
        return NEVER
    return min((instant for instant in found if instant > after), default=NEVER)


def _anniversary(born: date, year: int) -> int:
    leap = born.month == 2 and born.day == 29
    day = date(year, 3, 1) - timedelta(days=1) if leap else born.replace(year=year)
    return (day - _FIRST).days


def _shown(value: Any, where: ZoneInfo) -> int | None:
    """A trait as local time: a text without an offset is local, an instant is what the clock shows at it."""
    found = moment(value)
    if found is None:
        return None
    since = found - datetime(1970, 1, 1, tzinfo=found.tzinfo)
    instant = since // timedelta(milliseconds=1)
    if is_number(value) or datetime.fromisoformat(value).tzinfo is not None:
        return local(where, instant)
    return instant
