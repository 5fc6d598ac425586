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

from rtcdp.aggregates.balances import Balance
from rtcdp.aggregates.base import MAX_ENTRIES, MAX_VALUES, NEVER, SCALE, Aggregate, hashable, scaled, unhashable
from rtcdp.aggregates.calendar import During
from rtcdp.aggregates.dwell import NO_PAGE, Dwell
from rtcdp.aggregates.keyed import Keyed, top
from rtcdp.aggregates.lifetime import LATEST, ONE, Count, Edge, ExtremeTime, MostFrequent, Sum, Unique
from rtcdp.aggregates.making import Recipe, build, make
from rtcdp.aggregates.resets import RESET, Reset
from rtcdp.aggregates.sequences import Sequenced, Steps
from rtcdp.aggregates.sessions import TOUCH, Gaps, PerSession, SessionStatistics
from rtcdp.aggregates.times import packed_at, packed_up_to
from rtcdp.aggregates.window_counts import WindowAtLeast, WindowCount
from rtcdp.aggregates.window_edges import WindowBuckets, WindowNewest
from rtcdp.aggregates.window_numbers import WindowNumbers
from rtcdp.aggregates.window_values import OffsetUnique, WindowMostFrequent, WindowUnique
from rtcdp.aggregates.windows import Window

__all__ = [
    "LATEST",
    "MAX_ENTRIES",
    "MAX_VALUES",
    "NEVER",
    "NO_PAGE",
    "ONE",
    "RESET",
    "SCALE",
    "TOUCH",
    "Aggregate",
    "Balance",
    "Count",
    "During",
    "Dwell",
    "Edge",
    "ExtremeTime",
    "Gaps",
    "Keyed",
    "MostFrequent",
    "OffsetUnique",
    "PerSession",
    "Recipe",
    "Reset",
    "Sequenced",
    "SessionStatistics",
    "Steps",
    "Sum",
    "Unique",
    "Window",
    "WindowAtLeast",
    "WindowBuckets",
    "WindowCount",
    "WindowMostFrequent",
    "WindowNewest",
    "WindowNumbers",
    "WindowUnique",
    "build",
    "hashable",
    "make",
    "packed_at",
    "packed_up_to",
    "scaled",
    "top",
    "unhashable",
]
