"""Sliding windows: the newest entries are kept and exact, what is older is counted in buckets that leave whole.

Buckets are two lists, ascending: [number of each bucket, what it holds].
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER
from rtcdp.aggregates.times import packed_at, packed_up_to

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
        place = packed_up_to(times, now - self.within)
        due = packed_at(times, place) + self.within if place < len(times) // 6 else NEVER
        if self.offset:
            place = packed_up_to(times, now - self.offset)
            due = min(due, packed_at(times, place) + self.offset) if place < len(times) // 6 else due
        return due
