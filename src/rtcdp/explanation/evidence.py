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
    Balance,
    Count,
    During,
    Dwell,
    Edge,
    ExtremeTime,
    Keyed,
    MostFrequent,
    PerSession,
    Reset,
    Sequenced,
    SessionStatistics,
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
    events = [Held(at) for at in _packed(slot[0], now - aggregate.within) if at <= now - aggregate.offset]
    return Evidence(events, more=aggregate.value(slot, now) - len(events) if slot[1][0] else None)


@_uncertainty.register
def _(aggregate: WindowCount, slot: list[Any], now: int) -> str:
    count = next(iter(slot[1][1]), 0)
    return f"more than {MAX_ENTRIES} events: the older ones in buckets, at most {count} too many"


@_evidence.register
def _(aggregate: WindowBuckets, slot: list[Any], now: int) -> Evidence:
    gone, end = now - aggregate.within, now - aggregate.offset
    return Evidence([Held(at, tie, value) for at, tie, value in slot[0] if gone < at <= end])


@_evidence.register
def _(aggregate: WindowNumbers, slot: list[Any], now: int) -> Evidence:
    gone, end, sums = now - aggregate.within, now - aggregate.offset, aggregate.kind in ("sum", "avg")
    times = [packed_at(slot[0], place) for place in range(len(slot[1]))]
    numbers = [unscaled(number) if sums else number for number in slot[1]]
    return Evidence([Held(at, "", number) for at, number in zip(times, numbers, strict=True) if gone < at <= end])


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
    gone, end = now - aggregate.within, now - aggregate.offset
    found = {text: [at for at in _packed(times, gone) if at <= end] for text, times in slot.items()}
    events = [Held(at, "", unhashable(text)) for text, times in found.items() for at in times]
    ranks = sorted(found.items(), key=lambda item: (-len(item[1]), item[1][-1:], item[0]))
    values = [(unhashable(text), len(times)) for text, times in ranks if times]
    return Evidence(sorted(events, key=lambda event: event.at), values=values)


@_uncertainty.register
def _(aggregate: WindowMostFrequent, slot: dict[str, bytes], now: int) -> str:
    return f"more than {MAX_ENTRIES} events: counted over the newest {MAX_ENTRIES}"


@_evidence.register
def _(aggregate: PerSession, slot: dict[str, Any], now: int) -> Evidence:
    inner = aggregate.held(slot, now)
    return Evidence() if aggregate.inner is None else evidence(aggregate.inner, inner, now)


@_uncertainty.register
def _(aggregate: PerSession, slot: dict[str, Any], now: int) -> str:
    return "events came later than the sessions that are kept reach back: some may be missing"


@_evidence.register
def _(aggregate: During, slot: list[Any], now: int) -> Evidence:
    return evidence(aggregate.inner, aggregate.held(slot, now), now)


@_uncertainty.register
def _(aggregate: During, slot: list[Any], now: int) -> str:
    return uncertainty(aggregate.inner, aggregate.held(slot, now), now)


@_evidence.register
def _(aggregate: Reset, slot: list[Any], now: int) -> Evidence:
    since, times, values, inner = slot[0], slot[1], slot[2], slot[3]
    found = evidence(aggregate.inner, inner, now)
    if found.events or found.values:
        return found
    events = [Held(at, "", values[place] if values else None) for place, at in enumerate(_packed(times, since))]
    return Evidence(events, more=found.more - len(events) if found.more is not None else None)


@_uncertainty.register
def _(aggregate: Reset, slot: list[Any], now: int) -> str:
    return f"a reset came late, before the newest {MAX_ENTRIES} events that are kept: only these count"


@_evidence.register
def _(aggregate: Keyed, slot: list[Any], now: int) -> Evidence:
    ranks = sorted(slot[0].items(), key=lambda item: (-item[1][0], item[0]))
    return Evidence(values=[(unhashable(key), rank // ONE) for key, (rank, _) in ranks])


@_uncertainty.register
def _(aggregate: Keyed, slot: list[Any], now: int) -> str:
    if slot[1]:
        return f"more than {aggregate.top} keys: those seen least often were let go, and count from when they came back"
    parts = (uncertainty(aggregate.inner, held, now) for _, held in slot[0].values())
    return next((text for text in parts if text), "")


@_evidence.register
def _(aggregate: Sequenced, slot: list[Any], now: int) -> Evidence:
    gone = now - aggregate.within if aggregate.within else -1
    return Evidence([Held(at) for at in _packed(slot[0], gone)])


@_uncertainty.register
def _(aggregate: Sequenced, slot: list[Any], now: int) -> str:
    return f"more than {MAX_ENTRIES} events of the sequence: exact unless one comes late, before the newest of them"


@_evidence.register
def _(aggregate: SessionStatistics, slot: dict[str, Any], now: int) -> Evidence:
    """Each session by its first event, with how long it has lasted (ms)."""
    gone, single = now - aggregate.within if aggregate.within else -1, aggregate.kind == "bounces"
    runs: list[list[int]] = []
    for channel, held in slot.items():
        over = now - aggregate.gaps.of(channel)
        runs += [run for run in held[0] if run[1] > gone and (not single or (run[2] == 1 and run[1] <= over))]
    older = sum(held[1][single] for held in slot.values())
    return Evidence([Held(first, "", last - first) for first, last, _ in sorted(runs)], more=older or None)


@_uncertainty.register
def _(aggregate: SessionStatistics, slot: dict[str, Any], now: int) -> str:
    return "events came later than the sessions that are kept reach back: some may be counted apart"


@_evidence.register
def _(aggregate: Dwell, slot: list[Any], now: int) -> Evidence:
    """The newest events, with how long each lasted (ms), and its name where they are told apart by it."""
    found = aggregate.lasted(slot)
    return Evidence([Held(at, "", [name, lasted] if name else lasted) for at, name, lasted in found])


@_uncertainty.register
def _(aggregate: Dwell, slot: list[Any], now: int) -> str:
    return "an event came before those that are kept, or there were more names: times may be a little off"


@_evidence.register
def _(aggregate: Balance, slot: list[Any], now: int) -> Evidence:
    """What is left of each amount that was earned; where none expires, the newest amounts earned and spent."""
    if not aggregate.expire:
        return Evidence([Held(packed_at(slot[0], place), "", unscaled(amount)) for place, amount in enumerate(slot[1])])
    return Evidence([Held(at, "", unscaled(amount)) for at, amount in slot[2] if at + aggregate.expire > now])


@_uncertainty.register
def _(aggregate: Balance, slot: list[Any], now: int) -> str:
    return f"more than {MAX_ENTRIES} amounts, or one came before those that are kept: the oldest are kept together"
