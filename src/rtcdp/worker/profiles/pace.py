"""How much one transaction takes, as much as commits quickly; when the next one may begin; how many a tick wakes.

The broker ends a transaction that stays open for `transaction.timeout.ms`. A batch that takes longer than that would never
come through, however often it is done again, also by the process that is started next.
"""

from __future__ import annotations

from rtcdp.transport.settings import TRANSACTION_TIMEOUT_MS

LONG_S = TRANSACTION_TIMEOUT_MS / 1_000 / 4
"""From here on the next one takes less (s)."""
SHORT_S = LONG_S / 4
"""Up to here it takes more (s): twice as much is then still far from the broker's limit."""
FEW, SMALL = 500, 256 << 10
"""What one may always take (records, bytes of values). Less would not help where a broker is merely far away."""


class Pace:
    """Begins small (after a crash nobody knows what it died of), doubles while commits are short, halves where one is long.

    most, size: most that a transaction may take (records, bytes of values).
    """

    def __init__(self, most: int, size: int) -> None:
        self._most, self._size = most, size
        self._times = 1

    @property
    def records(self) -> int:
        """Most records that the next one takes."""
        return min(self._most, FEW * self._times)

    @property
    def size(self) -> int:
        """Most bytes of values that the next one takes."""
        return min(self._size, SMALL * self._times)

    def took(self, seconds: float) -> None:
        """A transaction was committed, so long after its first record was produced."""
        if seconds > LONG_S:
            self.aborted()
        elif seconds < SHORT_S and (self.records < self._most or self.size < self._size):
            self._times *= 2

    def aborted(self) -> None:
        """One was aborted."""
        self._times = max(1, self._times // 2)


SETTLE_S = 0.002
"""Least rest (s). The coordinator answers a commit before it has written the markers. Until they are written it refuses the
next transaction of that producer, and librdkafka asks again only after 20 ms."""
SHARE_S = 0.00125
"""Rest for each partition that commits (s): a transaction costs what fifty events cost, and at few events a second each
would have its own."""
MOST_S = 0.010
BUSY_S = 0.050
"""A partition that has committed within this time does so again (s)."""


class Rest:
    """How long the partitions of a worker rest between two small transactions: the longer, the more of them commit."""

    def __init__(self) -> None:
        self._committed: dict[int, float] = {}

    def committed(self, partition: int, at: float) -> None:
        """A partition has committed. at: monotonic time (s)."""
        self._committed[partition] = at

    def least(self, now: float) -> float:
        """How long to rest after a commit (s). now: monotonic time (s)."""
        busy = sum(now - at < BUSY_S for at in self._committed.values())
        return min(MOST_S, max(SETTLE_S, SHARE_S * busy))


ROUND_S = 0.030
"""How long the slices of all partitions together may keep the event loop from live events (s), where each has one to wake."""
FEWEST, MOST_WAKES = 100, 5_000
WAKE_S = 0.00004
"""What waking a profile costs before any has been woken (s)."""
WEIGHT = 0.2
"""Of the last slice, in the average of what waking costs."""
WAKING_S = 0.2
"""A partition that has woken somebody within this time does so again (s)."""


class Slices:
    """How many profiles a tick wakes: as many as leave live events their turn, by what waking them has cost so far.

    A tick says the number, so what is woken when is in the log, whatever this process was busy with.
    """

    def __init__(self) -> None:
        self._cost = WAKE_S
        self._woken: dict[int, float] = {}

    def wakes(self, now: float) -> int:
        """How many the next tick is to wake. now: monotonic time (s)."""
        busy = sum(now - at < WAKING_S for at in self._woken.values())
        return max(FEWEST, min(MOST_WAKES, int(ROUND_S / max(1, busy) / self._cost)))

    def took(self, partition: int, profiles: int, seconds: float, now: float) -> None:
        """A partition has woken so many. seconds: what that has taken. now: monotonic time (s)."""
        self._woken[partition] = now
        if profiles >= FEWEST // 2:  # of few the rest of the batch is the most
            self._cost += WEIGHT * (seconds / profiles - self._cost)
