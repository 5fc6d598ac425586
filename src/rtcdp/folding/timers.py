"""When profiles are due: a partition's index of wake times, rebuilt from the state at recovery.

A heap with lazy deletion: an entry is stale where the profile's own `wake_at` says otherwise. The state is the truth,
the index only finds candidates.
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
        """A profile wakes at `wake_at` from now on."""
        if wake_at < NEVER:
            heapq.heappush(self._heap, (wake_at, key))
            if len(self._heap) > 64 + 4 * self._live:
                self._compact()

    def _compact(self) -> None:
        self.fill({entry for entry in self._heap if self._wake_at(entry[1]) == entry[0]})

    def next(self) -> int:
        """The earliest wake time, or NEVER."""
        heap = self._heap
        while heap and self._wake_at(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def due(self, until: int, most: int) -> list[bytes]:
        """Keys of up to `most` profiles that wake at or before `until` (ms), by (wake time, key). Nothing is taken out."""
        found: dict[bytes, int] = {}
        heap = self._heap
        while heap and heap[0][0] <= until and len(found) < most:
            wake, key = heapq.heappop(heap)
            if self._wake_at(key) == wake:
                found[key] = wake
        for key, wake in found.items():
            heapq.heappush(heap, (wake, key))
        return list(found)
