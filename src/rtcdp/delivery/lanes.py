"""The queue of one destination: what may be attempted now, and what waits. No destination shares anything with another.

A lane decides when; it knows nothing of Kafka. Times are ms since 1970 by the clock it is given.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

from rtcdp.delivery.attempts import Attempt, Sender, Verdict
from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.destinations import Destination, Rate

FAILURES = 10
"""So many attempts in a row without a sign of life: the destination is left alone."""
OPEN_MS, LONGEST_OPEN_MS = 5_000, 300_000
JITTER = 0.2


class Pending:
    """A delivery in the hands of this process.

    live:   whether its end still is to be told; its owner sets it to False when it is over or belongs to another process.
    active: whether an attempt is under way.
    """

    __slots__ = ("active", "delivery", "live", "owner")

    def __init__(self, delivery: Delivery, owner: Owner) -> None:
        self.delivery = delivery
        self.owner = owner
        self.live = True
        self.active = False


class Owner(Protocol):
    """Whoever wrote a delivery down, and is told what became of it."""

    def expired(self, pending: Pending) -> None:
        """It is too late for it, or it was cancelled: no attempt is made."""

    def attempted(self, pending: Pending, attempt: Attempt) -> None:
        """An attempt has ended."""


class Breaker:
    """Leaves a destination alone that shows no sign of life, for longer each time; then one attempt at a time probes it."""

    def __init__(self) -> None:
        self.opened_until = 0
        self._failures = 0
        self._opened = 0

    @property
    def probing(self) -> bool:
        """Whether the next attempt only probes."""
        return self._failures >= FAILURES

    def alive(self) -> None:
        """The destination answered."""
        self._failures = self._opened = self.opened_until = 0

    def silent(self, now: int) -> None:
        """It did not."""
        self._failures += 1
        if self._failures >= FAILURES and now >= self.opened_until:
            self.opened_until = now + min(OPEN_MS << min(self._opened, 10), LONGEST_OPEN_MS)
            self._opened += 1


class Bucket:
    """At most `times` within any `per` ms: remembers when the last ones were."""

    def __init__(self, rate: Rate) -> None:
        self._per = rate.per
        self._last: deque[int] = deque(maxlen=rate.times)

    def free_at(self) -> int:
        """When the next one may be."""
        return self._last[0] + self._per if len(self._last) == self._last.maxlen else 0

    def take(self, now: int) -> None:
        """One is made now."""
        self._last.append(now)


class Lane:
    """Everything that waits for one destination.

    clock: ms since 1970.
    """

    def __init__(self, destination: Destination, sender: Sender, clock: Callable[[], int]) -> None:
        self.destination = destination
        self.disabled = False
        self.breaker = Breaker()
        self.active = 0
        self._sender = sender
        self._clock = clock
        self._bucket = Bucket(destination.rate) if destination.rate is not None else None
        self._ready: deque[Pending] = deque()
        self._later: list[tuple[int, int, Pending]] = []
        self._number = itertools.count()
        self._paused_until = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._ready) + len(self._later) + self.active

    @property
    def held(self) -> bool:
        """Whether the destination is left alone at the moment."""
        return self.disabled or max(self.breaker.opened_until, self._paused_until) > self._clock()

    def add(self, pending: Pending) -> None:
        """Take a delivery in; `pump` sets it off."""
        if pending.delivery.due > self._clock():
            heapq.heappush(self._later, (pending.delivery.due, next(self._number), pending))
        else:
            self._ready.append(pending)

    def pump(self) -> None:
        """Begin what may be begun now, and see to it that what waits is begun in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self.active < self._most() and (pending := self._next()) is not None:
            self.active += 1
            task = asyncio.get_running_loop().create_task(self._work(pending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        wait = self._wait()
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait / 1_000, self.pump)

    async def close(self) -> None:
        """End what is under way, without a word to the owners: to them it was never attempted."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sender.close()

    def _most(self) -> int:
        return 1 if self.breaker.probing else self.destination.concurrency

    async def _work(self, pending: Pending | None) -> None:
        """Attempt one delivery after the other while there are any and room for this worker."""
        try:
            while pending is not None:
                attempt = await self._sender.attempt(pending.delivery)
                pending.active = False
                self._learn(attempt)
                if pending.live:
                    pending.owner.attempted(pending, attempt)
                pending = self._next() if self.active <= self._most() else None
        finally:
            self.active -= 1
        self.pump()

    def _next(self) -> Pending | None:
        """The next one to be attempted now; what is too late is told on the way."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        if self._free_at() > now:
            return None
        while self._ready:
            pending = self._ready.popleft()
            if not pending.live:
                continue
            if pending.delivery.cancelled or 0 < pending.delivery.expires <= now:
                pending.owner.expired(pending)
                continue
            if self._bucket is not None:
                self._bucket.take(now)
            pending.active = True
            return pending
        return None

    def _free_at(self) -> int:
        """From when on an attempt may be made."""
        if self.disabled:
            return 1 << 62
        rate = self._bucket.free_at() if self._bucket is not None else 0
        return max(self.breaker.opened_until, self._paused_until, rate)

    def _wait(self) -> int | None:
        """How long until something may begin (ms); None where only an ending attempt or `add` changes that."""
        if self.disabled or self.active >= self._most():
            return None
        now = self._clock()
        at = now if self._ready else self._later[0][0] if self._later else None
        return None if at is None else max(1, max(at, self._free_at()) - now)

    def _learn(self, attempt: Attempt) -> None:
        now = self._clock()
        probed = self.breaker.probing
        if attempt.alive:
            self.breaker.alive()
        else:
            self.breaker.silent(now)
        if attempt.pause is not None:
            self._paused_until = max(self._paused_until, now + attempt.pause)
        if attempt.verdict is Verdict.GONE:
            self.disabled = True
        if probed and attempt.alive:
            self.pump()


def wait_after(
    destination: Destination, attempts: int, attempt: Attempt, chance: Callable[[], float] = random.random
) -> int | None:
    """How long to wait (ms) before the next attempt; None where there is none.

    attempts: how many have failed. chance: 0..1, spreads what failed together.
    """
    if attempts > len(destination.retries):
        return None
    wait = destination.retries[attempts - 1]
    spread = round(wait * (1 + JITTER * (2 * chance() - 1)))
    return max(spread, attempt.pause or 0)
