"""How many events lie within a sliding window."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rtcdp.aggregates.base import NEVER, Slot
from rtcdp.aggregates.times import pack, packed, packed_at, packed_insert, packed_up_to, united
from rtcdp.aggregates.windows import Buckets, Window


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
        packed = pack(at)
        if slot is None:
            return [packed, [[], []]]
        times, buckets = slot
        times = times + packed if times[-6:] <= packed else packed_insert(times, at)
        if times[:6] <= pack(gone):
            times = times[packed_up_to(times, gone) * 6 :]
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
        count = entered - packed_up_to(times, now - self.within) if entered else 0
        return count + sum(self._live(buckets, now)) if buckets[0] else count

    def unmoved(self, slot: Slot, at: int, value: Any, now: int) -> bool:
        """What has still to enter the window counts for nothing yet, where all are kept."""
        return at + self.offset > now and (slot is None or (not slot[1][0] and len(slot[0]) < self._most * 6))

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        times, buckets = slot
        if self.offset:
            due = self._next_entry(times, now)
        else:
            place = packed_up_to(times, now - self.within)
            due = packed_at(times, place) + self.within if place < len(times) // 6 else NEVER
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
