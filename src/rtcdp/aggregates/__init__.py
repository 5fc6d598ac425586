"""Incremental aggregates over one profile's events: pure functions on small msgpack-able slots.

Each aggregate answers the same questions. A *slot* is its state: `None` before the first event, then an int, bytes, a
list or a dict. Times are ms. `tie` is the message id: equal times are ordered by it where the order matters, so that
any order of the same events gives the same slot.

    update(slot, at, tie, value, now) -> slot     one event more, that occurred at `at`
    value(slot, now)                              what rules and payloads read; None is missing
    next_change(slot, now) -> ms or NEVER         when the value next changes if nothing arrives
    merge(one, other, now) -> slot                the union of two disjoint sets of events
    exact(slot) -> bool                           whether the value is exact, or an estimate as the class says

Windows are `(now - within, now]` by the time of occurrence: an event that occurred at `t` is out at `t + within`.
Sums are exact integers, scaled by `SCALE`.
"""

from rtcdp.aggregates.base import MAX_ENTRIES, MAX_VALUES, NEVER, SCALE, Aggregate, scaled
from rtcdp.aggregates.lifetime import LATEST, ONE, Count, Edge, ExtremeTime, MostFrequent, Sum
from rtcdp.aggregates.making import Recipe, build, make
from rtcdp.aggregates.times import packed_up_to
from rtcdp.aggregates.windows import WindowAtLeast, WindowCount, WindowNewest

__all__ = [
    "LATEST",
    "MAX_ENTRIES",
    "MAX_VALUES",
    "NEVER",
    "ONE",
    "SCALE",
    "Aggregate",
    "Count",
    "Edge",
    "ExtremeTime",
    "MostFrequent",
    "Recipe",
    "Sum",
    "WindowAtLeast",
    "WindowCount",
    "WindowNewest",
    "build",
    "make",
    "packed_up_to",
    "scaled",
]
