"""Which aggregate a feature needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rtcdp.aggregates.balances import Balance
from rtcdp.aggregates.base import MAX_ENTRIES, Aggregate
from rtcdp.aggregates.calendar import During
from rtcdp.aggregates.dwell import Dwell
from rtcdp.aggregates.keyed import Keyed
from rtcdp.aggregates.lifetime import Average, Count, Edge, Extreme, ExtremeTime, MostFrequent, Sum, Unique
from rtcdp.aggregates.resets import Reset
from rtcdp.aggregates.sequences import Sequenced, Steps
from rtcdp.aggregates.sessions import Gaps, PerSession, SessionStatistics
from rtcdp.aggregates.window_counts import WindowAtLeast, WindowCount
from rtcdp.aggregates.window_edges import WindowBuckets, WindowNewest
from rtcdp.aggregates.window_numbers import WindowNumbers
from rtcdp.aggregates.window_values import OffsetUnique, WindowMostFrequent, WindowUnique
from rtcdp.times.zones import Calendar

LIFETIME: dict[str, Callable[[], Aggregate]] = {
    "count": Count,
    "sum": Sum,
    "avg": Average,
    "min": lambda: Extreme(largest=False),
    "max": lambda: Extreme(largest=True),
    "first": lambda: Edge(last=False),
    "last": lambda: Edge(last=True),
    "first_time": lambda: ExtremeTime(last=False),
    "last_time": lambda: ExtremeTime(last=True),
    "unique": Unique,
    "most_frequent": MostFrequent,
}
_KEYED_ENTRIES = 1_024  # of all windows of one keyed feature together
_FEWEST_ENTRIES = 8


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a feature asks for. Durations in ms.

    kind:     name of the aggregate in the language.
    within:   length of the window; None for the lifetime. It ends `offset` before now.
    keep:     for a counted window: the largest constant that rules compare it with, where they do nothing else.
    calendar: periods to begin anew with.
    resets:   an event begins anew.
    gaps:     of sessions, where those matter; `current`: only what happened in the current one counts.
    top:      how many keys are kept, of a keyed feature.
    steps:    of a sequence; `same`: they have a key that must be the same.
    expire:   of a balance; 0 for never.
    """

    kind: str
    within: int | None = None
    offset: int = 0
    keep: int | None = None
    calendar: Calendar | None = None
    resets: bool = False
    gaps: Gaps | None = None
    current: bool = False
    top: int = 0
    steps: Steps | None = None
    same: bool = False
    expire: int = 0


def make(kind: str, within: int | None = None, keep: int | None = None) -> Aggregate:
    """Make an aggregate over the lifetime or a sliding window: see Recipe."""
    return build(Recipe(kind=kind, within=within, keep=keep))


def build(recipe: Recipe) -> Aggregate:
    """Make the aggregate of a recipe."""
    kind, gaps = recipe.kind, recipe.gaps
    if recipe.steps is not None:
        return Sequenced(recipe.steps, recipe.within or 0, keyed=recipe.same)
    if kind == "balance":
        return Balance(recipe.expire)
    if kind == "dwell" and gaps is not None:
        return Dwell(gaps.of(""), recipe.top)
    if gaps is not None and not recipe.current:
        return SessionStatistics(kind, gaps, recipe.within or 0)  # type: ignore[arg-type] # the loader lets no other through
    return _scoped(recipe, None if kind == "time_spent" else _inner(recipe))


def _scoped(recipe: Recipe, inner: Aggregate | None) -> Aggregate:
    """Within what the events count."""
    if recipe.gaps is not None:
        return PerSession(inner, recipe.gaps)
    if inner is None:
        raise ValueError(recipe.kind)
    if recipe.resets:
        return Reset(inner)
    return inner if recipe.calendar is None else During(inner, recipe.calendar)


def _inner(recipe: Recipe) -> Aggregate:
    inner = _lifetime_or_window(recipe)
    return Keyed(inner, recipe.top) if recipe.top else inner


def _lifetime_or_window(recipe: Recipe) -> Aggregate:
    kind, within, keep = recipe.kind, recipe.within, recipe.keep
    if within is None:
        return LIFETIME[kind]()
    entries = max(_FEWEST_ENTRIES, min(MAX_ENTRIES, _KEYED_ENTRIES // recipe.top)) if recipe.top else MAX_ENTRIES
    if kind == "count" and keep and keep <= MAX_ENTRIES:
        return WindowAtLeast(within, keep)
    return _window(kind, within, entries, recipe.offset)


def _window(kind: str, within: int, entries: int, offset: int) -> Aggregate:
    if kind == "count":
        return WindowCount(within, entries, offset)
    if kind in ("sum", "avg", "min", "max"):
        return WindowNumbers(kind, within, entries, offset)  # type: ignore[arg-type] # just looked at
    if kind == "most_frequent":
        return WindowMostFrequent(within, entries, offset)
    if kind == "unique":
        return OffsetUnique(within, entries, offset) if offset else WindowUnique(within, entries)
    inner: Any = LIFETIME[kind]()
    if kind in ("last", "last_time") and not offset:
        return WindowNewest(inner, within, entries)
    return WindowBuckets(inner, within, entries, offset)
