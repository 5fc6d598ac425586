"""How much one transaction takes: as much as commits quickly.

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
