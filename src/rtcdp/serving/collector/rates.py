"""How much a sender may send: a token bucket per write key, counted in events."""

from __future__ import annotations

import math
from collections.abc import Callable

BURST_S = 10
"""So many seconds' worth of events may come at once, after as long a silence."""


class Rates:
    """One bucket per name. A bucket may go into debt by one body; until it is out of it nothing more is let through.

    clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # name: (tokens, when)

    def wait(self, name: str, rate: int) -> int:
        """Whole seconds until something may be sent again; 0: now. rate: events per second, 0 for any."""
        if not rate:
            return 0
        tokens = self._tokens(name, rate)
        return 0 if tokens > 0 else max(1, math.ceil((1 - tokens) / rate))

    def spend(self, name: str, rate: int, events: int) -> None:
        """So many events were sent."""
        if rate:
            self._buckets[name] = (self._tokens(name, rate) - events, self._clock())

    def _tokens(self, name: str, rate: int) -> float:
        most = float(rate * BURST_S)
        tokens, since = self._buckets.get(name, (most, 0.0))
        return min(most, tokens + (self._clock() - since) * rate)
