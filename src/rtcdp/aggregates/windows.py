"""Sliding windows: the newest entries are kept and exact, what is older is counted in buckets that leave whole."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, Aggregate, Slot, plain
from rtcdp.aggregates.lifetime import Edge, ExtremeTime
from rtcdp.aggregates.times import pack, packed_at, packed_insert, packed_up_to


class Window:
    """What holds for every window of `within` ms. Buckets cover `within / entries` each and leave whole."""

    timed = True

    def __init__(self, within: int, entries: int = MAX_ENTRIES) -> None:
        """Entries: how many are kept as they are."""
        self.within = within
        self._most = entries
        self._bucket = max(1, within // entries)

    def _name(self, at: int) -> str:
        """The bucket of an instant."""
        return str(at // self._bucket)

    def _leaves(self, name: str) -> int:
        """When a bucket leaves: with the last instant that it covers."""
        return (int(name) + 1) * self._bucket - 1 + self.within

    def _drop_left(self, buckets: dict[str, Any], now: int) -> None:
        for name in [name for name in buckets if self._leaves(name) <= now]:
            del buckets[name]

    def _next_leaving(self, buckets: dict[str, Any], now: int, due: int) -> int:
        """When the next bucket leaves, if that is before `due`."""
        return min([due, *(leaves for name in buckets if (leaves := self._leaves(name)) > now)])


class WindowAtLeast:
    """How many events within the window, up to `keep`. Slot: packed times, the newest `keep`.

    Where rules only compare a count with constants up to `keep`, this is exact at any volume: the value saturates.
    """

    zero = 0
    numeric = False
    timed = True

    def __init__(self, within: int, keep: int) -> None:
        self.within = within
        self.keep = keep

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        if slot is None:
            return pack(at)
        times = packed_insert(slot, at)
        expired = packed_up_to(times, gone)
        return times[max(expired * 6, len(times) - self.keep * 6) :]

    def value(self, slot: Slot, now: int) -> Any:
        return 0 if slot is None else len(slot) // 6 - packed_up_to(slot, now - self.within)

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        place = packed_up_to(slot, now - self.within)
        return packed_at(slot, place) + self.within if place < len(slot) // 6 else NEVER

    def next_below(self, slot: Slot, now: int, count: int) -> int:
        """When the value falls below `count`, which it has now: the count-th newest decides."""
        place = len(slot) // 6 - count
        return packed_at(slot, place) + self.within if place >= 0 else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        both = sorted(whole[place : place + 6] for whole in (one, other) for place in range(0, len(whole), 6))
        return b"".join(both[-self.keep :])

    def exact(self, slot: Slot) -> bool:
        return True


class WindowCount(Window):
    """How many events within the window. Slot: [packed times, {bucket: count}].

    The newest MAX_ENTRIES times are kept; what is older is counted in buckets of `within / MAX_ENTRIES`, which leave
    whole: the error is at most the count of one bucket.
    """

    zero = 0
    numeric = False

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        if slot is None:
            return [pack(at), {}]
        times, buckets = packed_insert(slot[0], at), slot[1]
        times = times[packed_up_to(times, gone) * 6 :]
        if len(times) > self._most * 6:
            name = self._name(packed_at(times, 0))
            buckets[name] = buckets.get(name, 0) + 1
            times = times[6:]
        if buckets:
            self._drop_left(buckets, now)
        slot[0] = times
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        if slot is None:
            return 0
        times, buckets = slot
        count = len(times) // 6 - packed_up_to(times, now - self.within)
        return count + sum(n for name, n in buckets.items() if self._leaves(name) > now)

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        times, buckets = slot
        place = packed_up_to(times, now - self.within)
        due = packed_at(times, place) + self.within if place < len(times) // 6 else NEVER
        return self._next_leaving(buckets, now, due) if buckets else due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        buckets = dict(one[1])
        for name, count in other[1].items():
            buckets[name] = buckets.get(name, 0) + count
        merged: Slot = [b"", buckets]
        for at in sorted(packed_at(whole[0], place) for whole in (one, other) for place in range(len(whole[0]) // 6)):
            merged = self.update(merged, at, "", None, now)
        return merged

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1]


class WindowBuckets(Window):
    """Sum, mean, extremes, the first value or the first time within a window.

    And whatever is aggregated in a window that ends before now, `(now - within, now - offset]`.
    Slot: [[[at, tie, value], ...] ascending, {bucket: slot of `inner`}]. `inner` is the lifetime aggregate of the same
    kind. The newest MAX_ENTRIES are kept and exact; what is older is aggregated in buckets: the value may then hold
    events that occurred up to `within / MAX_ENTRIES` before the window, and `exact` says so. Only `first` needs ties.
    """

    def __init__(self, inner: Aggregate, within: int, entries: int = MAX_ENTRIES, offset: int = 0) -> None:
        """Offset: the window ends so many ms before now; what is newer waits to enter."""
        super().__init__(within, entries)
        self.inner = inner
        self.offset = offset
        self.zero = inner.zero
        self.numeric = inner.numeric
        self._tied = isinstance(inner, Edge)

    def _order(self, entry: list[Any]) -> tuple[Any, ...]:
        return (entry[0], entry[2]) if self.numeric else (entry[0], entry[1])

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        entry = [at, tie if self._tied else "", plain(value) if self.numeric else value if self._tied else None]
        if slot is None:
            return [[entry], {}]
        entries, buckets = slot
        if not entries or self._order(entry) >= self._order(entries[-1]):
            entries.append(entry)
        else:
            insort(entries, entry, key=self._order)
        if entries[0][0] <= gone:
            del entries[: self._first(entries, now)]
        if len(entries) > self._most:
            oldest = entries.pop(0)
            name = self._name(oldest[0])
            buckets[name] = self.inner.update(buckets.get(name), oldest[0], oldest[1], oldest[2], now)
        if buckets:
            self._drop_left(buckets, now)
        return slot

    def _first(self, entries: list[list[Any]], now: int) -> int:
        return bisect_right(entries, now - self.within, key=_instant)

    def value(self, slot: Slot, now: int) -> Any:
        if not slot:
            return self.zero
        entries, buckets = slot
        inner, held = self.inner, None
        entered = now + self.within - self.offset  # what leaves later than this has not entered yet
        for name, part in buckets.items():
            if now < self._leaves(name) <= entered:
                held = inner.merge(held, part, now)
        end = bisect_right(entries, now - self.offset, key=_instant) if self.offset else len(entries)
        for at, tie, value in entries[self._first(entries, now) : end]:
            held = inner.update(held, at, tie, value, now)
        return inner.value(held, now)

    def next_change(self, slot: Slot, now: int) -> int:
        if not slot:
            return NEVER
        entries, buckets = slot
        place = self._first(entries, now)
        due = entries[place][0] + self.within if place < len(entries) else NEVER
        if self.offset:
            place = bisect_right(entries, now - self.offset, key=_instant)
            due = min(due, entries[place][0] + self.offset) if place < len(entries) else due
            enters = [entering for name in buckets if (entering := self._leaves(name) - self.within + self.offset) > now]
            due = min([due, *enters])
        return self._next_leaving(buckets, now, due) if buckets else due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if not one or not other:
            return one or other
        buckets = dict(one[1])
        for name, part in other[1].items():
            buckets[name] = self.inner.merge(buckets.get(name), part, now)
        merged: Slot = [[], buckets]
        for at, tie, value in sorted(one[0] + other[0], key=self._order):
            merged = self.update(merged, at, tie, value, now)
        return merged

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1]


class WindowNewest(Window):
    """The last value or the last time within a window. Slot: that of `inner`: once the newest is out, so is the rest."""

    numeric = False
    zero: Any = None

    def __init__(self, inner: Edge | ExtremeTime, within: int, entries: int = MAX_ENTRIES) -> None:
        super().__init__(within, entries)
        self.inner = inner

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return slot if at <= now - self.within else self.inner.update(slot, at, tie, value, now)

    def _leaves_at(self, slot: Slot) -> int:
        return int(slot if type(slot) is int else slot[0]) + self.within

    def value(self, slot: Slot, now: int) -> Any:
        return None if slot is None or self._leaves_at(slot) <= now else self.inner.value(slot, now)

    def next_change(self, slot: Slot, now: int) -> int:
        return NEVER if slot is None or (leaves := self._leaves_at(slot)) <= now else leaves

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.inner.merge(one, other, now)

    def exact(self, slot: Slot) -> bool:
        return True


def _instant(entry: list[Any]) -> int:
    return int(entry[0])
