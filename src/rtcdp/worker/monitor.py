"""What can only be seen by looking now and then: lag, timers, readiness, whether the loop turns. Once a second."""

from __future__ import annotations

import asyncio
import logging

from rtcdp.folding.runner import PartitionRunner
from rtcdp.monitoring.health import Health
from rtcdp.monitoring.metrics import Metrics
from rtcdp.worker.app import Worker
from rtcdp.worker.ingest.watermark import Ends, Watermark
from rtcdp.worker.profiles.partition import ProfilePartition

logger = logging.getLogger(__name__)

LOOK_S = 1.0
CAUGHT_UP = 1_000
"""Records behind the end at which a partition counts as caught up: the markers of transactions are never read."""
DUE_COUNTED = 1_000
"""Due timers are counted up to this many: more are more than one tick wakes."""
TAKEOVER = "takeover"
CATCHING_UP = "catching up"


class Monitor:
    """Looks at a running worker and tells metrics and health.

    topic: `profile-events`.
    """

    def __init__(self, worker: Worker, topic: str, metrics: Metrics, health: Health, watermark: Watermark, ends: Ends) -> None:
        self._worker = worker
        self._topic = topic
        self._metrics = metrics
        self._health = health
        self._watermark = watermark
        self._ends = ends
        self._epoch = -1
        self._behind: set[int] = set()
        health.missing(TAKEOVER, "no partitions have been taken over yet")

    async def run(self) -> None:
        """Look once a second, for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Look once."""
        self._health.beat()
        members = self._worker.app.members
        watermark = self._watermark.now()
        self._metrics.watermark.set((watermark or 0) / 1_000)
        if members.epoch < 0 or members.busy_since:
            self._health.missing(TAKEOVER, "partitions are being taken over")
            return
        self._health.reached(TAKEOVER)
        profiles = self._worker.profiles
        if profiles is None:
            return
        owned = dict(profiles.partitions)
        if members.epoch != self._epoch:
            self._epoch, self._behind = members.epoch, set(owned)
            self._ends.watch((self._topic, number) for number in owned)
        told = {tp.partition: offsets for tp, offsets in members.progress().items() if tp.topic == self._topic}
        for number, partition in owned.items():
            self._look_at(number, partition, watermark, told.get(number))
        if self._behind:
            self._health.missing(CATCHING_UP, f"partitions {sorted(self._behind)} are still catching up")
        else:
            self._health.reached(CATCHING_UP)

    def _look_at(self, number: int, partition: ProfilePartition, watermark: int | None, told: tuple[int, int] | None) -> None:
        end = self._ends.found.get((self._topic, number))
        lag = None if end is None else max(0, end.offset - partition.offset - 1)
        if lag is not None and lag <= CAUGHT_UP:
            self._behind.discard(number)
        uncommitted = 0 if told is None else told[0] - max(0, told[1])
        self._metrics.progress(self._topic, number, lag=lag, uncommitted=uncommitted)
        runner: object = partition.runner
        if not isinstance(runner, PartitionRunner):
            return
        # Where sources run in `event` mode time is the partition's own; what is due by the clock is not due yet.
        now = max(watermark or 0, runner.position.tick)
        due, overdue = 0, 0
        if runner.timers.next() <= now:
            due = len(runner.timers.due(now, DUE_COUNTED))
            overdue = now - runner.timers.next()
        self._metrics.holds(number, profiles=len(runner.state), timers=len(runner.timers), due=due, overdue_ms=overdue)
