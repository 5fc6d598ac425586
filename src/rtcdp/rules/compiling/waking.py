"""When time alone may next change what some rule sees of a feature.

Rules that compare a value with constants see no more of it than on which side of each it is. So a profile is not woken
for every event that leaves a window, but when the value next passes a constant.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rtcdp.aggregates import (
    NEVER,
    SCALE,
    Count,
    During,
    ExtremeTime,
    Keyed,
    PerSession,
    Sequenced,
    SessionStatistics,
    Window,
    WindowAtLeast,
    WindowCount,
    WindowMostFrequent,
    WindowNumbers,
    WindowUnique,
)

if TYPE_CHECKING:
    from rtcdp.rules.compiling.features import Leaf

Next = Callable[[Any, int], int]  # slot, now -> ms
_STEPS = 8  # changes that are looked at in advance


def watched(leaf: Leaf) -> bool:
    """Whether some rule reads the value; what only payloads read needs no waking."""
    return bool(leaf.readers or leaf.gates.points or leaf.since.points or leaf.keyed or leaf.named)


def gated(leaf: Leaf) -> bool:
    """Whether rules do nothing with the value but compare it with constants."""
    return bool(leaf.gates.points) and not (leaf.readers or leaf.since.points or leaf.keyed or leaf.named)


def falling_of(leaf: Leaf) -> Callable[[Any], bool] | None:
    """Make `falling(slot)`: whether time alone can only make the value less, and every event only makes it more, now and later.

    Then what was found before an event stays early enough, unless the event itself takes the value past a constant. None
    where rules do more with the value than compare it with constants, or it is never so.
    """
    aggregate = leaf.aggregate
    if not gated(leaf):
        return None
    if isinstance(aggregate, WindowCount):
        return None if aggregate.offset else lambda slot: True
    if isinstance(aggregate, WindowUnique):
        return lambda slot: not slot[1]
    if isinstance(aggregate, WindowNumbers):
        return aggregate.falls
    if isinstance(aggregate, Sequenced):
        return (lambda slot: True) if aggregate.grows else None
    counted = isinstance(aggregate, PerSession) and isinstance(aggregate.inner, Count) and not aggregate.gaps.apart
    return (lambda slot: True) if counted else None


def next_of(leaf: Leaf) -> Next:
    """Make `next(slot, now)`: when time alone may next change what some rule sees (ms), or NEVER."""
    aggregate = leaf.aggregate
    if isinstance(aggregate, ExtremeTime):
        return _next_since_kept(leaf)
    if isinstance(aggregate, WindowAtLeast):
        return _next_fall(leaf, aggregate)
    if not leaf.timed or not watched(leaf):
        return lambda slot, now: NEVER
    if leaf.since.points:
        return _next_since(leaf)
    if isinstance(aggregate, Keyed) and not leaf.readers:
        keys, next_of_keys = tuple(leaf.keyed), aggregate.next_of
        return lambda slot, now: next_of_keys(slot, now, keys)
    if not gated(leaf) or isinstance(aggregate, During):  # a period ends seldom
        return aggregate.next_change
    if isinstance(aggregate, SessionStatistics) and aggregate.rises:
        return _next_rise(leaf)
    if isinstance(aggregate, WindowCount | WindowNumbers) and aggregate.bounded:
        return _next_outside(leaf, aggregate)
    return _next_crossing(leaf)


def due_of(leaf: Leaf) -> Callable[[Any, int, int], int] | None:
    """Make what says when to wake at the latest after an event: `(slot, at, now)` -> ms; None where time does nothing.

    What was there before has been seen to: in a window that ends now, an event only adds when it leaves.
    """
    if not leaf.timed or not watched(leaf):
        return None
    following = leaf.next
    aggregate: Any = leaf.aggregate.inner if isinstance(leaf.aggregate, Keyed) else leaf.aggregate
    if not isinstance(aggregate, Window) or leaf.since.points:
        return lambda slot, at, now: following(slot, now)
    within, offset = aggregate.within, getattr(aggregate, "offset", 0)
    if isinstance(aggregate, WindowCount) and offset and gated(leaf):  # till it enters it changes nothing, where all are kept
        return lambda slot, at, now: at + offset if at + offset > now and not slot[1][0] else following(slot, now)
    if offset or gated(leaf) or isinstance(aggregate, WindowMostFrequent):  # what was there before may count earlier now
        return lambda slot, at, now: following(slot, now)
    return lambda slot, at, now: at + within if at + within > now else NEVER


def _next_since_kept(leaf: Leaf) -> Next:
    """Of a time that stays."""
    arm = leaf.since.points

    def next_since(slot: Any, now: int) -> int:
        place = bisect_right(arm, now - slot)
        return int(slot + arm[place]) if place < len(arm) else NEVER

    return next_since


def _next_since(leaf: Leaf) -> Next:
    """Of a time that may itself be lost or replaced as time passes."""
    arm, value, next_change = leaf.since.points, leaf.aggregate.value, leaf.aggregate.next_change

    def next_since(slot: Any, now: int) -> int:
        due, then = next_change(slot, now), value(slot, now)
        if then is None:
            return due
        place = bisect_right(arm, now - then)
        return min(due, int(then + arm[place])) if place < len(arm) else due

    return next_since


def _next_fall(leaf: Leaf, aggregate: WindowAtLeast) -> Next:
    points, value, next_below = leaf.gates.points, aggregate.value, aggregate.next_below

    def next_fall(slot: Any, now: int) -> int:
        place = bisect_right(points, value(slot, now))
        floor = points[place - 1] if place else 0
        return next_below(slot, now, floor) if floor > 0 else NEVER

    return next_fall


def _next_rise(leaf: Leaf) -> Next:
    """Of what time alone makes more, by one for each channel."""
    value, next_change, flips = leaf.aggregate.value, leaf.aggregate.next_change, leaf.gates.flips

    def next_rise(slot: Any, now: int) -> int:
        held = value(slot, now)
        if len(slot) == 1:
            return next_change(slot, now) if held + 1 in flips else NEVER
        return next_change(slot, now) if any(held + more in flips for more in range(1, len(slot) + 1)) else NEVER

    return next_rise


def _next_outside(leaf: Leaf, aggregate: WindowCount | WindowNumbers) -> Next:
    """Of what is between two constants, or beyond all of them."""
    points, units, next_outside = leaf.gates.points, aggregate.units, aggregate.next_outside
    least, most = -(1 << 62) * SCALE, (1 << 62) * SCALE

    def next_crossing(slot: Any, now: int) -> int:
        held = units(slot, now)
        place = bisect_right(points, held)
        low = points[place - 1] if place else least
        return next_outside(slot, now, held, low, points[place] if place < len(points) else most)

    return next_crossing


def _next_crossing(leaf: Leaf) -> Next:
    """Of any value: the changes to come are looked at one by one, some of them."""
    value, next_change, crossed = leaf.aggregate.value, leaf.aggregate.next_change, leaf.crossed

    def next_crossing(slot: Any, now: int) -> int:
        due = next_change(slot, now)
        if due == NEVER:
            return due
        before = value(slot, now)
        for _ in range(_STEPS):
            if crossed(before, value(slot, due)):
                return due
            following = next_change(slot, due)
            if following == NEVER:
                return NEVER
            due = following
        return due

    return next_crossing
