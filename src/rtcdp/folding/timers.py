"""When profiles are due: a partition's index of wake times, rebuilt from the state at recovery.

A heap with lazy deletion: an entry is stale where the profile's own `wake_at` says otherwise. The state is the truth,
the index only finds candidates. A profile that wakes later than it was to needs no new entry: the old one comes up first,
and is put where it belongs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from rtcdp.aggregates import NEVER

WakeAt = Callable[[bytes], int]


class Timers:
    """Wake times of the profiles of one partition.

    wake_at: the true wake time (ms) of a key; NEVER where there is none.
    """

    def __init__(self, wake_at: WakeAt) -> None:
        self._wake_at = wake_at
        self._heap: list[tuple[int, bytes]] = []
        self._live = 0

    def __len__(self) -> int:
        """Entries, stale ones among them."""
        return len(self._heap)

    def fill(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Begin anew with these (wake time, key)."""
        self._heap = [entry for entry in entries if entry[0] < NEVER]
        heapq.heapify(self._heap)
        self._live = len(self._heap)

    def add(self, wake_at: int, key: bytes) -> None:
        """A profile wakes at `wake_at` from now on, earlier than before or for the first time."""
        if wake_at < NEVER:
            heapq.heappush(self._heap, (wake_at, key))
            if len(self._heap) > 64 + 4 * self._live:
                self._compact()

    def _compact(self) -> None:
        self.fill((self._wake_at(key), key) for key in {key for _, key in self._heap})

    def next(self) -> int:
        """The earliest wake time, or NEVER."""
        heap = self._heap
        while heap:
            wake, key = heap[0]
            true = self._wake_at(key)
            if true == wake:
                return wake
            self._put_right(wake, true, key)
        return NEVER

    def due(self, until: int, most: int) -> list[bytes]:
        """Keys of up to `most` profiles that wake at or before `until` (ms), by (wake time, key). Nothing is taken out."""
        found: dict[bytes, tuple[int, bytes]] = {}
        heap = self._heap
        while heap and heap[0][0] <= until and len(found) < most:
            wake, key = heap[0]
            true = self._wake_at(key)
            if true == wake:
                found[key] = heapq.heappop(heap)
            else:
                self._put_right(wake, true, key)
        for entry in found.values():
            heapq.heappush(heap, entry)
        return list(found)

    def _put_right(self, wake: int, true: int, key: bytes) -> None:
        """The first entry is stale: it goes to the key's true time, unless there must be another one for that."""
        if wake < true < NEVER:
            heapq.heapreplace(self._heap, (true, key))
        else:
            heapq.heappop(self._heap)
