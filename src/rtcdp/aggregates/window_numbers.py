"""Sums, means and extremes of numbers within a sliding window."""

from __future__ import annotations

from typing import Any, Literal

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, SCALE, Slot, plain, scaled, unscaled
from rtcdp.aggregates.times import pack, packed, packed_at, packed_up_to
from rtcdp.aggregates.windows import Buckets, Window


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
