"""The first or last value or time within a sliding window."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, Aggregate, Slot
from rtcdp.aggregates.lifetime import Edge, ExtremeTime
from rtcdp.aggregates.windows import Buckets, Window


class WindowBuckets(Window):
    """The first value or the first time within a window; in one that ends before now also the last.

    Slot: [[[at, tie, value], ...] ascending, buckets of slots of `inner`]. `inner` is the lifetime aggregate of the same
    kind. The newest MAX_ENTRIES are kept and exact; what is older is aggregated in buckets: the value may then be one
    that occurred up to `within / MAX_ENTRIES` before the window, and `exact` says so. Only values need ties.
    """

    numeric = False

    def __init__(self, inner: Edge | ExtremeTime, within: int, entries: int = MAX_ENTRIES, offset: int = 0) -> None:
        super().__init__(within, entries, offset)
        self.inner: Aggregate = inner
        self.zero = inner.zero
        self._tied = isinstance(inner, Edge)

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        entry = [at, tie, value] if self._tied else [at, "", None]
        if slot is None:
            return [[entry], [[], []]]
        entries, buckets = slot
        if not entries or (at, entry[1]) >= (entries[-1][0], entries[-1][1]):
            entries.append(entry)
        else:
            insort(entries, entry, key=_order)
        if entries[0][0] <= gone:
            del entries[: self._first(entries, now)]
        if len(entries) > self._most:
            oldest = entries.pop(0)
            place = self._place(buckets, oldest[0], None)
            buckets[1][place] = self.inner.update(buckets[1][place], oldest[0], oldest[1], oldest[2], now)
        if buckets[0]:
            self._drop_left(buckets, now)
        return slot

    def _first(self, entries: list[list[Any]], now: int) -> int:
        return bisect_right(entries, now - self.within, key=_instant)

    def value(self, slot: Slot, now: int) -> Any:
        if not slot:
            return self.zero
        entries, buckets = slot
        inner, held = self.inner, None
        for part in self._live(buckets, now) if buckets[0] else ():
            held = inner.merge(held, part, now)
        end = bisect_right(entries, now - self.offset, key=_instant) if self.offset else len(entries)
        for at, tie, value in entries[self._first(entries, now) : end]:
            held = inner.update(held, at, tie, value, now)
        return inner.value(held, now)

    def next_change(self, slot: Slot, now: int) -> int:
        if not slot:
            return NEVER
        entries, buckets = slot
        due = NEVER
        for delay in (self.within, self.offset) if self.offset else (self.within,):
            place = bisect_right(entries, now - delay, key=_instant)
            due = min(due, entries[place][0] + delay) if place < len(entries) else due
        return self._next_bucket(buckets, now, due) if buckets[0] else due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if not one or not other:
            return one or other
        buckets: Buckets = [[], []]
        for slot in (one, other):
            for number, part in zip(*slot[1], strict=True):
                place = self._place(buckets, number * self._bucket, None)
                buckets[1][place] = self.inner.merge(buckets[1][place], part, now)
        merged: Slot = [[], buckets]
        for at, tie, value in sorted(one[0] + other[0], key=_order):
            merged = self.update(merged, at, tie, value, now)
        return merged

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1][0]


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


def _order(entry: list[Any]) -> tuple[int, str]:
    return entry[0], entry[1]
