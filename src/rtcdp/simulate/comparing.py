"""Two sets of definitions over the same past, side by side."""

from __future__ import annotations

import msgspec

from rtcdp.folding.warming import asks_for_more
from rtcdp.rules.expressions.tree import spell_duration
from rtcdp.rules.sending import DAY_MS
from rtcdp.simulate.measuring import Side
from rtcdp.times.timestamps import rfc3339

MOST_EXAMPLES = 5


class Segment(msgspec.Struct, omit_defaults=True):
    """A segment under both versions, at the end.

    old, new:     members; absent where a version does not know it.
    enter, leave: members of the new version alone, of the old alone; absent where not both know it.
    overlap:      share of both among all members of either (Jaccard); 1 where it is empty in both.
    ever_old, ever_new: how many have been in it at any time.
    moves:        entries and exits over the whole past, under the new version.
    entering, leaving: some of them.
    """

    old: int | None = None
    new: int | None = None
    enter: int | None = None
    leave: int | None = None
    overlap: float | None = None
    ever_old: int | None = None
    ever_new: int | None = None
    moves: int = 0
    entering: list[str] = []
    leaving: list[str] = []


class Fires(msgspec.Struct, omit_defaults=True):
    """A trigger under both versions: days (`2026-03-01`) and how often it would have been sent; and why it was not."""

    old: dict[str, int] | None = None
    new: dict[str, int] | None = None
    not_sent: dict[str, int] = {}
    condition_false: int = 0


class Cost(msgspec.Struct):
    """What a version costs.

    bytes_mean, bytes_p50, bytes_p99, bytes_max: of a profile.
    timers:       profiles that wait for an instant at the end.
    wakes:        instants at which time alone could change something.
    events_per_s: events folded per second of processor time, from cleaned events on where the past is a log.
    """

    version: str
    profiles: int
    bytes_mean: float
    bytes_p50: int
    bytes_p99: int
    bytes_max: int
    timers: int
    wakes: int
    events_per_s: float


class Backtest(msgspec.Struct, omit_defaults=True):
    """What would change.

    until:   time at the end.
    old:     absent where nothing was compared.
    unfit:   features that met values that should be numbers and are none, with how many: `where` or the tracking plan may help.
    short:   features whose window is longer than the past was, with that window: `30d`. They undercount.
    warming: features that would be warming after a switch from the old version, with how long: `7d`; empty where that
             is as long as a profile lives that was there before.
    """

    events: int
    until: str
    segments: dict[str, Segment]
    tags: dict[str, dict[str, int]]
    stages: dict[str, dict[str, int]]
    triggers: dict[str, Fires]
    new: Cost
    old: Cost | None = None
    short: dict[str, str] = {}
    warming: dict[str, str] = {}
    unfit: dict[str, int] = {}


def compare(new: Side, old: Side | None) -> Backtest:
    """Set two sides of the same past beside each other."""
    sides = {"new": new} if old is None else {"old": old, "new": new}
    found = Backtest(new.events, rfc3339(new.until), {}, {}, {}, {}, _cost(new), _cost(old) if old else None)
    members = {name: _members(side, new) for name, side in sides.items()}
    for name in dict.fromkeys(segment for side in sides.values() for segment in side.members):
        segment = _segment(name, new, members["new"].get(name), members.get("old", {}).get(name))
        segment.ever_new, segment.ever_old = new.ever.get(name), old.ever.get(name) if old else None
        found.segments[name] = segment
    found.tags = _beside({which: side.tagged for which, side in sides.items()})
    found.stages = _beside({which: side.stages for which, side in sides.items()})
    for name in dict.fromkeys(trigger for side in sides.values() for trigger in side.fires):
        days = {which: _days(side.fires.get(name)) for which, side in sides.items()}
        found.triggers[name] = Fires(days.get("old"), days["new"], new.held.get(name, {}), new.false.get(name, 0))
    windows = {name: kept.within for name, kept in new.kept.items() if new.began + kept.within > new.until}
    found.short = {name: spell_duration(within) for name, within in windows.items()}
    found.unfit = new.unfit
    found.warming = _warming(new, old) if old is not None else {}
    return found


def _warming(new: Side, old: Side) -> dict[str, str]:
    """Features that begin with a switch from the old version, or count further than it has kept."""
    before = {kept.key: kept for kept in old.kept.values()}
    found: dict[str, str] = {}
    for name, kept in new.kept.items():
        known = before.get(kept.key)
        if known is None or asks_for_more(known.at_most, kept.at_most):
            found[name] = spell_duration(kept.within) if kept.within else ""
    return found


def _beside(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Counts by side and name as counts by name and side."""
    names = dict.fromkeys(name for side in counts.values() for name in side)
    return {name: {which: side[name] for which, side in counts.items() if name in side} for name in names}


def _members(side: Side, named: Side) -> dict[str, set[int]]:
    """Members as places in the keys of `named`; its own beyond, negative."""
    if side.keys == named.keys:
        return {name: set(places) for name, places in side.members.items()}
    place_of = {key: place for place, key in enumerate(named.keys)}
    return {name: {place_of.get(side.keys[p], -1 - p) for p in places} for name, places in side.members.items()}


def _segment(name: str, side: Side, new: set[int] | None, old: set[int] | None) -> Segment:
    segment = Segment(None if old is None else len(old), None if new is None else len(new))
    if new is not None:
        segment.moves = sum(side.moves.get(name, {}).get(kind, 0) for kind in ("entered", "exited"))
    if new is not None and old is not None:
        enter, leave, either = new - old, old - new, new | old
        segment.enter, segment.leave = len(enter), len(leave)
        segment.overlap = len(new & old) / len(either) if either else 1.0
        segment.entering = [side.keys[place] for place in sorted(enter)[:MOST_EXAMPLES]]
        segment.leaving = [side.keys[place] for place in sorted(leave) if place >= 0][:MOST_EXAMPLES]
    return segment


def _days(fires: dict[int, int] | None) -> dict[str, int] | None:
    return None if fires is None else {rfc3339(day * DAY_MS)[:10]: fires[day] for day in sorted(fires)}


def _cost(side: Side) -> Cost:
    mean = sum(side.sizes) / len(side.sizes) if side.sizes else 0.0
    rate = side.events / side.seconds if side.seconds else 0.0
    most = side.sizes[-1] if side.sizes else 0
    return Cost(
        side.version,
        len(side.keys),
        round(mean, 1),
        side.size(0.5),
        side.size(0.99),
        most,
        side.timers,
        side.wakes,
        round(rate),
    )
