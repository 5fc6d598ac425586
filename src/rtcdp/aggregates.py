"""Incremental aggregates over one profile's events: pure functions on small msgpack-able slots.

Each aggregate answers the same questions. A *slot* is its state: `None` before the first event, then an int or a
list. Times are ms. `tie` is the message id: equal times are ordered by it, so that any order of the same events gives
the same slot.

    update(slot, at, tie, value, now) -> slot     one event more, that occurred at `at`
    value(slot, now)                              what rules and payloads read; None is missing
    next_change(slot, now) -> ms or NEVER         when the value next changes if nothing arrives
    merge(one, other, now) -> slot                the union of two disjoint sets of events
    exact(slot) -> bool                           whether the value is exact, or an estimate as the class says

Windows are `(now - within, now]` by the time of occurrence: an event that occurred at `t` is out at `t + within`.
Sums are exact integers, scaled by `SCALE`.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any, Protocol

import msgspec
from xxhash import xxh3_64_intdigest

NEVER = 1 << 62
SCALE = 1_000_000
MAX_ENTRIES = 256
MAX_VALUES = 256

Slot = Any
_to_json = msgspec.json.Encoder(order="deterministic").encode
_from_json = msgspec.json.decode


class Aggregate(Protocol):
    """What every aggregate can do; see the module."""

    zero: Any
    numeric: bool
    timed: bool

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in."""

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""

    def next_change(self, slot: Slot, now: int) -> int:
        """Return the first instant after `now` at which the value may differ, or NEVER."""

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union."""

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""


def scaled(number: float) -> int:
    """A number as an exact integer of 1/SCALE, rounded half to even."""
    return number * SCALE if type(number) is int else round(number * SCALE)


def unscaled(units: int) -> float | int:
    """Back from `scaled`: an int where it is whole."""
    whole, rest = divmod(units, SCALE)
    return whole if not rest else units / SCALE


def hashable(value: Any) -> str:
    """Any JSON value as text that tells types apart. Cleaned text holds no control characters, so NUL marks the rest."""
    if type(value) is str:
        return value
    if type(value) is float and value.is_integer():
        value = int(value)
    return "\0" + _to_json(value).decode()


def unhashable(text: str) -> Any:
    """Back from `hashable`."""
    return _from_json(text[1:]) if text[:1] == "\0" else text


class _Lifetime:
    """What holds for every aggregate over the whole life: time alone never changes it."""

    zero: Any = None
    numeric = False
    timed = False

    def next_change(self, slot: Slot, now: int) -> int:
        return NEVER

    def exact(self, slot: Slot) -> bool:
        return True


class Count(_Lifetime):
    """How many events. Slot: int."""

    zero = 0

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return (slot or 0) + 1

    def value(self, slot: Slot, now: int) -> Any:
        return slot or 0

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return (one or 0) + (other or 0)


class Sum(_Lifetime):
    """Sum of numbers. Slot: scaled int."""

    zero = 0
    numeric = True

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return (slot or 0) + scaled(value)

    def value(self, slot: Slot, now: int) -> Any:
        return unscaled(slot or 0)

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return (one or 0) + (other or 0)


class Average(_Lifetime):
    """Mean of numbers. Slot: [scaled sum, count]."""

    numeric = True

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return [slot[0] + scaled(value), slot[1] + 1] if slot else [scaled(value), 1]

    def value(self, slot: Slot, now: int) -> Any:
        return slot[0] / (slot[1] * SCALE) if slot else None

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return [one[0] + other[0], one[1] + other[1]] if one and other else one or other


class Extreme(_Lifetime):
    """Smallest or largest number. Slot: the number."""

    numeric = True

    def __init__(self, *, largest: bool) -> None:
        self._pick = max if largest else min

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return value if slot is None else self._pick(slot, value)

    def value(self, slot: Slot, now: int) -> Any:
        return slot

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.update(one, 0, "", other, now) if other is not None else one


class ExtremeTime(_Lifetime):
    """When it first or last occurred. Slot: ms."""

    def __init__(self, *, last: bool) -> None:
        self._pick = max if last else min

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return at if slot is None else self._pick(slot, at)

    def value(self, slot: Slot, now: int) -> Any:
        return slot

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.update(one, other, "", None, now) if other is not None else one


class Edge(_Lifetime):
    """The first or last value, by time of occurrence, then message id. Slot: [at, tie, value]."""

    def __init__(self, *, last: bool) -> None:
        self._last = last

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        if slot is None or ((at, tie) > (slot[0], slot[1])) == self._last:
            return [at, tie, value]
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        return slot[2] if slot else None

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.update(one, other[0], other[1], other[2], now) if other else one


class Unique(_Lifetime):
    """How many different values. Slot: sorted 8-byte hashes, concatenated.

    Exact up to MAX_VALUES. Beyond, the MAX_VALUES smallest hashes are kept and the count is estimated as
    `(k - 1) / kth smallest` (Bar-Yossef et al. 2002, k minimum values), standard error `1 / sqrt(k - 2)`: 6 %.
    """

    zero = 0

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        digest = xxh3_64_intdigest(hashable(value)).to_bytes(8, "big")
        return self._with(slot or b"", digest)

    def _with(self, slot: bytes, digest: bytes) -> bytes:
        low, high = 0, len(slot) // 8
        while low < high:
            middle = (low + high) // 2
            if slot[middle * 8 : middle * 8 + 8] < digest:
                low = middle + 1
            else:
                high = middle
        place = low * 8
        if slot[place : place + 8] == digest:
            return slot
        return (slot[:place] + digest + slot[place:])[: MAX_VALUES * 8]

    def value(self, slot: Slot, now: int) -> Any:
        if not slot:
            return 0
        kept: int = len(slot) // 8
        if kept < MAX_VALUES:
            return kept
        return max(MAX_VALUES, round((kept - 1) * 2.0**64 / (int.from_bytes(slot[-8:], "big") + 1)))

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        merged = one or b""
        for place in range(0, len(other or b""), 8):
            merged = self._with(merged, other[place : place + 8])
        return merged or None

    def exact(self, slot: Slot) -> bool:
        return len(slot or b"") < MAX_VALUES * 8


class MostFrequent(_Lifetime):
    """The value that occurs most often. Slot: {value: [count, latest at]}.

    Among equals the one that reached the count first, that is whose latest event is oldest; then by text. Bounded to
    MAX_VALUES by Space-Saving (Metwally et al. 2005): a new value takes the place of the rarest and its count.
    """

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        text = hashable(value)
        if slot is None:
            return {text: [1, at]}
        entry = slot.get(text)
        if entry is not None:
            entry[0] += 1
            if at > entry[1]:
                entry[1] = at
        elif len(slot) < MAX_VALUES:
            slot[text] = [1, at]
        else:
            rarest = min(slot, key=lambda name: (slot[name][0], slot[name][1], name))
            slot[text] = [slot.pop(rarest)[0] + 1, at]
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        return unhashable(self.top(slot)) if slot else None

    @staticmethod
    def top(slot: dict[str, list[int]]) -> str:
        """Key of the most frequent value of a slot that is not empty."""
        best, best_count, best_at = "", 0, 0
        for text, (count, at) in slot.items():
            if count > best_count or (
                count == best_count and (at < best_at or (at == best_at and text < best))
            ):
                best, best_count, best_at = text, count, at
        return best

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if not one or not other:
            return one or other
        merged = {text: list(entry) for text, entry in one.items()}
        for text, (count, at) in other.items():
            entry = merged.setdefault(text, [0, at])
            entry[0] += count
            entry[1] = max(entry[1], at)
        if len(merged) > MAX_VALUES:
            kept = sorted(merged, key=lambda name: (-merged[name][0], merged[name][1], name))[:MAX_VALUES]
            merged = {text: merged[text] for text in kept}
        return merged

    def exact(self, slot: Slot) -> bool:
        return len(slot or ()) < MAX_VALUES


class WindowCount:
    """How many events within the window. Slot: [ascending times, {bucket: count}].

    Where rules compare only with constants up to `keep`, the newest `keep` times are exact at any volume (the count
    then saturates at `keep`). Otherwise the newest MAX_ENTRIES times are kept, and what is older is counted in
    buckets of `within / MAX_ENTRIES`, which leave whole: the error is at most the count of one bucket.
    """

    zero = 0
    numeric = False
    timed = True

    def __init__(self, within: int, keep: int | None = None) -> None:
        self.within = within
        self.keep = keep
        self._most = keep or MAX_ENTRIES
        self._bucket = max(1, within // MAX_ENTRIES)

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        if slot is None:
            return [[at], {}]
        times, buckets = slot
        if times and at < times[-1]:
            insort(times, at)
        else:
            times.append(at)
        if times[0] <= gone:
            del times[: bisect_right(times, gone)]
        if len(times) > self._most:
            oldest = times.pop(0)
            if self.keep is None:
                name = str(oldest // self._bucket)
                buckets[name] = buckets.get(name, 0) + 1
        if buckets:
            for name in [name for name in buckets if self._leaves(name) <= now]:
                del buckets[name]
        return slot

    def _leaves(self, name: str) -> int:
        """When a bucket leaves: with the last instant that it covers."""
        return (int(name) + 1) * self._bucket - 1 + self.within

    def value(self, slot: Slot, now: int) -> Any:
        if slot is None:
            return 0
        times, buckets = slot
        count = len(times) - bisect_right(times, now - self.within)
        if buckets:
            count += sum(n for name, n in buckets.items() if self._leaves(name) > now)
        return count

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        times, buckets = slot
        place = bisect_right(times, now - self.within)
        due = times[place] + self.within if place < len(times) else NEVER
        if buckets:
            due = min([due, *(leaves for name in buckets if (leaves := self._leaves(name)) > now)])
        return due

    def next_below(self, slot: Slot, now: int, count: int) -> int:
        """Return when the value falls below `count`, which it has now: the count-th newest decides. No buckets."""
        times = slot[0]
        return times[-count] + self.within if len(times) >= count else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        buckets = dict(one[1])
        for name, count in other[1].items():
            buckets[name] = buckets.get(name, 0) + count
        merged: Slot = [[], buckets]
        for at in sorted(one[0] + other[0]):
            merged = self.update(merged, at, "", None, now)
        return merged

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1]


class WindowEntries:
    """Sum, mean, extremes, edges, uniques or the most frequent value within a window.

    Slot: [[at, tie, value], ...] ascending, the newest MAX_ENTRIES: exact until more lie in the window, then the value
    is that of the newest MAX_ENTRIES and `exact` says so. `inner` is the lifetime aggregate of the same kind.
    """

    timed = True

    def __init__(self, inner: Aggregate, within: int) -> None:
        self.inner = inner
        self.within = within
        self.zero = inner.zero
        self.numeric = inner.numeric

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        if slot is None:
            return [[at, tie, value]]
        if (at, tie) < (slot[-1][0], slot[-1][1]):
            insort(slot, [at, tie, value], key=lambda entry: (entry[0], entry[1]))
        else:
            slot.append([at, tie, value])
        if slot[0][0] <= gone:
            del slot[: self._first(slot, now)]
        if len(slot) > MAX_ENTRIES:
            del slot[0]
        return slot

    def _first(self, slot: Slot, now: int) -> int:
        return bisect_right(slot, now - self.within, key=lambda entry: entry[0])

    def value(self, slot: Slot, now: int) -> Any:
        if not slot:
            return self.zero
        inner, held = self.inner, None
        for at, tie, value in slot[self._first(slot, now) :]:
            held = inner.update(held, at, tie, value, now)
        return inner.value(held, now)

    def next_change(self, slot: Slot, now: int) -> int:
        if not slot:
            return NEVER
        place = self._first(slot, now)
        return slot[place][0] + self.within if place < len(slot) else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if not one or not other:
            return one or other
        return sorted(one + other, key=lambda entry: (entry[0], entry[1]))[-MAX_ENTRIES:]

    def exact(self, slot: Slot) -> bool:
        return len(slot or ()) < MAX_ENTRIES


_LIFETIME: dict[str, Any] = {
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


def make(kind: str, within: int | None, keep: int | None = None) -> Aggregate:
    """Make an aggregate.

    kind:   its name in the language.
    within: window in ms; None for the lifetime.
    keep:   for a counted window: the largest constant that rules compare it with, where they do nothing else.
    """
    if within is None:
        aggregate: Aggregate = _LIFETIME[kind]()
    elif kind == "count":
        aggregate = WindowCount(within, keep if keep and keep <= MAX_ENTRIES else None)
    else:
        aggregate = WindowEntries(_LIFETIME[kind](), within)
    return aggregate
