"""What a slot still knows of the events that count in its value: times, message ids and values, as far as they are held.

`evidence(aggregate, slot, now)` reads a slot of any aggregate; `uncertainty` says how far its value may be from exact.
An aggregate holds what it needs and no more: a plain count holds no event, a window the times of its newest, a first or
last value its message id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from rtcdp.aggregates import (
    LATEST,
    MAX_ENTRIES,
    MAX_VALUES,
    ONE,
    Aggregate,
    Count,
    Edge,
    ExtremeTime,
    MostFrequent,
    Unique,
    WindowAtLeast,
    WindowBuckets,
    WindowCount,
    WindowMostFrequent,
    WindowNewest,
    WindowNumbers,
    WindowUnique,
    packed_at,
    packed_up_to,
    unhashable,
)
from rtcdp.aggregates.base import unscaled


@dataclass(frozen=True, slots=True)
class Held:
    """One event that counts. at: when it occurred (ms); message_id and value where they are held."""

    at: int
    message_id: str = ""
    value: Any = None


@dataclass(slots=True)
class Evidence:
    """What is held of the events behind a value.

    events: those that count now and are known one by one, oldest first.
    more:   how many more count, of which only the number is known; None where not even that is.
    values: for what is told apart by value: each value and how many events had it, most first.
    """

    events: list[Held] = field(default_factory=list)
    more: int | None = None
    values: list[tuple[Any, int]] = field(default_factory=list)


def evidence(aggregate: Aggregate, slot: Any, now: int) -> Evidence:
    """What a slot holds of the events that count at `now` (ms)."""
    return Evidence() if slot is None else _evidence(aggregate, slot, now)


@singledispatch
def _evidence(aggregate: Aggregate, slot: Any, now: int) -> Evidence:
    return Evidence()


def uncertainty(aggregate: Aggregate, slot: Any, now: int) -> str:
    """How far the value may be from exact, in words; empty where it is exact."""
    if slot is None or aggregate.exact(slot):
        return ""
    return _uncertainty(aggregate, slot, now)


@singledispatch
def _uncertainty(aggregate: Aggregate, slot: Any, now: int) -> str:
    return "estimated"


def at_most(aggregate: Aggregate) -> int | None:
    """The value up to which it counts: rules ask no further; None where it counts on."""
    return aggregate.keep if isinstance(aggregate, WindowAtLeast) else None


def _packed(times: bytes, gone: int) -> Iterator[int]:
    """Packed times after `gone`."""
    for place in range(packed_up_to(times, gone), len(times) // 6):
        yield packed_at(times, place)


@_evidence.register
def _(aggregate: Count, slot: int, now: int) -> Evidence:
    return Evidence(more=slot)


@_evidence.register
def _(aggregate: ExtremeTime, slot: int, now: int) -> Evidence:
    return Evidence([Held(slot)])


@_evidence.register
def _(aggregate: Edge, slot: list[Any], now: int) -> Evidence:
    return Evidence([Held(slot[0], slot[1], slot[2])])


@_evidence.register
def _(aggregate: MostFrequent, slot: list[Any], now: int) -> Evidence:
    ranks = sorted(slot[1].items(), key=lambda item: (-item[1], item[0]))
    return Evidence(values=[(unhashable(text), rank // ONE) for text, rank in ranks])


@_uncertainty.register
def _(aggregate: MostFrequent, slot: list[Any], now: int) -> str:
    least = min(rank & ~LATEST for rank in slot[1].values()) // ONE
    return f"more than {MAX_VALUES} different values: counts may be up to {least} too high"


@_uncertainty.register
def _(aggregate: Unique, slot: bytes, now: int) -> str:
    return f"more than {MAX_VALUES} different values: estimated, standard error 6 %"


@_evidence.register
def _(aggregate: WindowAtLeast, slot: bytes, now: int) -> Evidence:
    return Evidence([Held(at) for at in _packed(slot, now - aggregate.within)])


@_evidence.register
def _(aggregate: WindowCount, slot: list[Any], now: int) -> Evidence:
    events = [Held(at) for at in _packed(slot[0], now - aggregate.within)]
    return Evidence(events, more=aggregate.value(slot, now) - len(events) if slot[1][0] else None)


@_uncertainty.register
def _(aggregate: WindowCount, slot: list[Any], now: int) -> str:
    count = next(iter(slot[1][1]), 0)
    return f"more than {MAX_ENTRIES} events: the older ones in buckets, at most {count} too many"


@_evidence.register
def _(aggregate: WindowBuckets, slot: list[Any], now: int) -> Evidence:
    gone = now - aggregate.within
    return Evidence([Held(at, tie, value) for at, tie, value in slot[0] if at > gone])


@_evidence.register
def _(aggregate: WindowNumbers, slot: list[Any], now: int) -> Evidence:
    gone, sums = now - aggregate.within, aggregate.kind in ("sum", "avg")
    times = [packed_at(slot[0], place) for place in range(len(slot[1]))]
    numbers = [unscaled(number) if sums else number for number in slot[1]]
    return Evidence([Held(at, "", number) for at, number in zip(times, numbers, strict=True) if at > gone])


@_uncertainty.register(WindowBuckets)
@_uncertainty.register(WindowNumbers)
def _(aggregate: WindowBuckets | WindowNumbers, slot: list[Any], now: int) -> str:
    seconds = aggregate.within / MAX_ENTRIES / 1000
    return f"more than {MAX_ENTRIES} events: the older ones in buckets, which leave up to {seconds:g} s late"


@_evidence.register
def _(aggregate: WindowNewest, slot: Any, now: int) -> Evidence:
    held = _evidence(aggregate.inner, slot, now)
    return Evidence([event for event in held.events if event.at > now - aggregate.within])


@_evidence.register
def _(aggregate: WindowUnique, slot: list[Any], now: int) -> Evidence:
    return Evidence([Held(at) for at in sorted(slot[0].values()) if at > now - aggregate.within])


@_uncertainty.register
def _(aggregate: WindowUnique, slot: list[Any], now: int) -> str:
    return f"more than {MAX_VALUES} different values: estimated, standard error 6 %"


@_evidence.register
def _(aggregate: WindowMostFrequent, slot: dict[str, bytes], now: int) -> Evidence:
    gone = now - aggregate.within
    found = {text: list(_packed(times, gone)) for text, times in slot.items()}
    events = [Held(at, "", unhashable(text)) for text, times in found.items() for at in times]
    ranks = sorted(found.items(), key=lambda item: (-len(item[1]), item[1][-1:], item[0]))
    values = [(unhashable(text), len(times)) for text, times in ranks if times]
    return Evidence(sorted(events, key=lambda event: event.at), values=values)


@_uncertainty.register
def _(aggregate: WindowMostFrequent, slot: dict[str, bytes], now: int) -> str:
    return f"more than {MAX_ENTRIES} events: counted over the newest {MAX_ENTRIES}"
