"""Sliding windows: the newest entries are kept and exact, what is older is counted in buckets that leave whole.

Buckets are two lists, ascending: [number of each bucket, what it holds].
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from typing import Any, Literal

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, SCALE, Aggregate, Slot, plain, scaled, unscaled
from rtcdp.aggregates.lifetime import Edge, ExtremeTime
from rtcdp.aggregates.times import pack, packed, packed_at, packed_insert, packed_up_to, united

Buckets = list[list[Any]]


class Window:
    """What holds for every window of `within` ms, which ends `offset` ms before now: what is newer waits to enter.

    Buckets cover `within / entries` each; they enter and leave whole, with the last instant that they cover.
    """

    timed = True

    def __init__(self, within: int, entries: int = MAX_ENTRIES, offset: int = 0) -> None:
        """Entries: how many are kept as they are."""
        self.within = within
        self.offset = offset
        self._most = entries
        self._bucket = max(1, within // entries)

    def _place(self, buckets: Buckets, at: int, fresh: Any) -> int:
        """The place of the bucket of an instant, made where there is none."""
        number, (numbers, parts) = at // self._bucket, buckets
        place = bisect_left(numbers, number)
        if place == len(numbers) or numbers[place] != number:
            numbers.insert(place, number)
            parts.insert(place, fresh)
        return place

    def _left(self, buckets: Buckets, now: int) -> int:
        """How many buckets have left."""
        return bisect_right(buckets[0], (now - self.within + 1) // self._bucket - 1)

    def _live(self, buckets: Buckets, now: int) -> list[Any]:
        """What the buckets hold that are in the window."""
        end = bisect_right(buckets[0], (now - self.offset + 1) // self._bucket - 1) if self.offset else None
        return buckets[1][self._left(buckets, now) : end]

    def _drop_left(self, buckets: Buckets, now: int) -> None:
        left = self._left(buckets, now)
        if left:
            del buckets[0][:left], buckets[1][:left]

    def _next_bucket(self, buckets: Buckets, now: int, due: int) -> int:
        """When the next bucket leaves or enters, if that is before `due`."""
        numbers, size = buckets[0], self._bucket
        for delay in (self.within, self.offset) if self.offset else (self.within,):
            place = bisect_right(numbers, (now - delay + 1) // size - 1)
            if place < len(numbers):
                due = min(due, (numbers[place] + 1) * size - 1 + delay)
        return due

    def _next_entry(self, times: bytes, now: int) -> int:
        """When the next packed time leaves or enters."""
        due = NEVER
        for delay in (self.within, self.offset) if self.offset else (self.within,):
            place = packed_up_to(times, now - delay)
            if place < len(times) // 6:
                due = min(due, packed_at(times, place) + delay)
        return due


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
        return united(one, other)[-self.keep * 6 :]

    def exact(self, slot: Slot) -> bool:
        return True


class WindowCount(Window):
    """How many events within the window. Slot: [packed times, buckets of counts].

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
            return [pack(at), [[], []]]
        times, buckets = packed_insert(slot[0], at), slot[1]
        left = packed_up_to(times, gone)
        if left:
            times = times[left * 6 :]
        if len(times) > self._most * 6:
            buckets[1][self._place(buckets, packed_at(times, 0), 0)] += 1
            times = times[6:]
        if buckets[0]:
            self._drop_left(buckets, now)
        slot[0] = times
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        if slot is None:
            return 0
        times, buckets = slot
        entered = packed_up_to(times, now - self.offset) if self.offset else len(times) // 6
        count = entered - packed_up_to(times, now - self.within)
        return count + sum(self._live(buckets, now)) if buckets[0] else count

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        times, buckets = slot
        due = self._next_entry(times, now)
        return self._next_bucket(buckets, now, due) if buckets[0] else due

    bounded = True
    """`next_outside` can be asked."""
    units = value

    def next_outside(self, slot: Slot, now: int, held: int, low: int, high: int) -> int:
        """When the value, `held` now, may next be below `low` or reach `high`: not later than that."""
        if slot[1][0]:
            return self.next_change(slot, now)
        times, within, offset = slot[0], self.within, self.offset
        many, left = len(times) // 6, packed_up_to(times, now - within)
        if not offset:
            place = left + max(held - low, 0)  # the one that leaves `low - 1` behind
            return packed_at(times, place) + within if place < many else NEVER
        enters = left + held
        while left < many:  # every one leaves, at some time
            leaves = packed_at(times, left) + within
            if enters < many and (at := packed_at(times, enters) + offset) < leaves:
                held, enters = held + 1, enters + 1
            else:
                held, left, at = held - 1, left + 1, leaves
            if not low <= held < high:
                return at
        return NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        counts: Counter[int] = Counter(dict(zip(*one[1], strict=True)))
        counts.update(dict(zip(*other[1], strict=True)))
        times = united(one[0], other[0])
        times = times[packed_up_to(times, now - self.within) * 6 :]
        spilled = max(0, len(times) - self._most * 6)
        counts.update(int.from_bytes(at, "big") // self._bucket for at in packed(times[:spilled]))
        numbers = sorted(counts)
        buckets: Buckets = [numbers, [counts[number] for number in numbers]]
        if times and numbers:
            self._drop_left(buckets, now)
        return [times[spilled:], buckets]

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1][0]


class WindowNumbers(Window):
    """Sum, mean, least or greatest of numbers within a window. Slot: [packed times, their numbers, buckets].

    Numbers of one instant are in order. Of sums and means they are scaled integers, and a bucket holds [their sum, how
    many]; else it holds one number. The newest MAX_ENTRIES are kept and exact; beyond, the value may hold numbers that
    occurred up to `within / MAX_ENTRIES` before the window, and `exact` says so.
    """

    numeric = True

    def __init__(
        self, kind: Literal["sum", "avg", "min", "max"], within: int, entries: int = MAX_ENTRIES, offset: int = 0
    ) -> None:
        super().__init__(within, entries, offset)
        self.kind = kind
        self.zero = 0 if kind == "sum" else None
        self._sums = kind in ("sum", "avg")
        self._pick = min if kind == "min" else max

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        return self._add([b"", [], [[], []]] if slot is None else slot, at, scaled(value) if self._sums else plain(value), now)

    def _add(self, slot: Slot, at: int, number: Any, now: int) -> Slot:
        times, numbers, buckets = slot
        packed, gone = pack(at), now - self.within
        place = len(numbers)
        if place and times[-6:] > packed:
            place = packed_up_to(times, at)
        while place and times[place * 6 - 6 : place * 6] == packed and numbers[place - 1] > number:
            place -= 1
        times = times[: place * 6] + packed + times[place * 6 :] if place < len(numbers) else times + packed
        numbers.insert(place, number)
        left = packed_up_to(times, gone)
        if left:
            times = times[left * 6 :]
            del numbers[:left]
        if len(numbers) > self._most:
            self._spill(buckets, packed_at(times, 0), numbers.pop(0))
            times = times[6:]
        if buckets[0]:
            self._drop_left(buckets, now)
        slot[0] = times
        return slot

    def _spill(self, buckets: Buckets, at: int, number: Any, count: int = 1) -> None:
        place = self._place(buckets, at, None)
        held = buckets[1][place]
        if self._sums:
            buckets[1][place] = [number, count] if held is None else [held[0] + number, held[1] + count]
        else:
            buckets[1][place] = number if held is None else self._pick(held, number)

    def value(self, slot: Slot, now: int) -> Any:
        if slot is None:
            return self.zero
        times, numbers, buckets = slot
        first = packed_up_to(times, now - self.within)
        if self.offset:
            numbers = numbers[first : packed_up_to(times, now - self.offset)]
        elif first:
            numbers = numbers[first:]
        parts = self._live(buckets, now) if buckets[0] else ()
        if not self._sums:
            return self._pick([*numbers, *parts], default=None)
        total, count = sum(numbers), len(numbers)
        for part in parts:
            total, count = total + part[0], count + part[1]
        if self.kind == "sum":
            return unscaled(total)
        return total / (count * SCALE) if count else None

    @property
    def bounded(self) -> bool:
        """Whether `next_outside` can be asked."""
        return self.kind == "sum" and not self.offset

    def falls(self, slot: Slot) -> bool:
        """Whether all that leaves makes the sum less."""
        return self.bounded and not slot[2][0] and min(slot[1], default=0) >= 0

    def units(self, slot: Slot, now: int) -> int:
        """The sum as it is kept, scaled."""
        if slot is None:
            return 0
        times, numbers, buckets = slot
        first, end = packed_up_to(times, now - self.within), packed_up_to(times, now - self.offset) if self.offset else None
        total: int = sum(numbers[first:end] if first or end is not None else numbers)
        return total + sum([part[0] for part in self._live(buckets, now)]) if buckets[0] else total

    def next_outside(self, slot: Slot, now: int, held: int, low: int, high: int) -> int:
        """When the sum, `held` now, may next be below `low` or reach `high`, all scaled: not later than that."""
        if slot[2][0]:
            return self.next_change(slot, now)
        times, numbers = slot[0], slot[1]
        for place in range(packed_up_to(times, now - self.within), len(numbers)):
            held -= numbers[place]
            if not low <= held < high:
                return packed_at(times, place) + self.within
        return NEVER

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        due = self._next_entry(slot[0], now)
        return self._next_bucket(slot[2], now, due) if slot[2][0] else due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        buckets: Buckets = [[], []]
        entries: list[tuple[bytes, Any]] = []
        for times, numbers, (held, parts) in (one, other):
            if buckets[0]:
                for number, part in zip(held, parts, strict=True):
                    self._spill(buckets, number * self._bucket, *(part if self._sums else (part,)))
            else:
                buckets = [[*held], [[*part] for part in parts] if self._sums else [*parts]]
            left = packed_up_to(times, now - self.within)
            entries += zip(packed(times)[left:], numbers[left:], strict=True)
        entries.sort()
        spilled = max(0, len(entries) - self._most)
        for at, number in entries[:spilled]:
            self._spill(buckets, packed_at(at, 0), number)
        if entries and buckets[0]:
            self._drop_left(buckets, now)
        kept = entries[spilled:]
        return [b"".join([at for at, _ in kept]), [number for _, number in kept], buckets]

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[2][0]


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
