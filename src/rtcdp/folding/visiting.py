"""The order in which the profiles of a partition are visited after a switch: by key.

Sorting a million keys takes a time in which no event would be folded. So a worker has the order made ready in small
steps, before it appends the switch; whoever has not gets it in one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import groupby, islice

STEP = 5_000
"""Keys sorted in one step: a few milliseconds."""
AHEAD = 1_000
"""Keys merged in one go."""


class Order:
    """The keys of a partition's profiles, in order.

    keys:     of all that there are; read at once. What comes later is to be added; what ends stays.
    reserved: how keys begin that are no profile's.
    """

    def __init__(self, keys: Iterable[bytes], reserved: bytes) -> None:
        self._unsorted = list(keys)
        self._reserved = reserved
        self._runs: list[list[bytes]] = []
        self._added: list[bytes] = []
        self._merged: list[bytes] = []
        self._rest: Iterator[bytes] | None = None

    @property
    def ready(self) -> bool:
        """Whether `after` answers without sorting much."""
        return not self._unsorted

    def steps(self) -> Iterator[None]:
        """Sort them, some at each step."""
        while self._unsorted:
            self._runs.append(sorted(key for key in self._unsorted[-STEP:] if not key.startswith(self._reserved)))
            del self._unsorted[-STEP:]
            yield

    def add(self, key: bytes) -> None:
        """A profile that came since: seen by a visit that begins, or begins again, after that."""
        self._added.append(key)

    def begin_again(self) -> None:
        """What was visited does not count: it was not committed."""
        self._rest = None

    def after(self, key: bytes) -> Iterator[bytes]:
        """The keys above this one, each once, in order."""
        for _ in self.steps():
            pass
        if self._rest is None:
            self._merged = []
            self._rest = (one for one, _ in groupby(merge(*self._runs, sorted(self._added))))
        merged, rest = self._merged, self._rest
        place = bisect_right(merged, key)
        while True:
            while place < len(merged):
                yield merged[place]
                place += 1
            merged += islice(rest, AHEAD)
            if place == len(merged):
                return
            place = bisect_right(merged, key, place)
