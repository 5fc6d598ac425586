"""What ingest tells of itself: on `ingest-progress`, to the health check and to the metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic

from confluent_kafka import KafkaError

from rtcdp.errors import Stalled
from rtcdp.monitoring.health import Health
from rtcdp.monitoring.metrics import Metrics
from rtcdp.worker.ingest.lanes import Lane
from rtcdp.worker.ingest.progress import ProgressWriter

logger = logging.getLogger(__name__)

ANNOUNCE_S = 30.0
ACKNOWLEDGEMENTS = "acknowledgements of ingest"
WARN_S = 60.0
"""Least time between two warnings about the clock."""


class Reports:
    """Told regularly how the lanes are.

    writer:   of `ingest-progress`.
    grace_ms: how far the clocks may differ (`tick_grace_ms`).
    """

    def __init__(self, writer: ProgressWriter, metrics: Metrics, health: Health, grace_ms: int) -> None:
        self._writer = writer
        self._metrics = metrics
        self._health = health
        self._grace = grace_ms
        self._warned = -WARN_S
        self._waiting = False
        self._done = 0

    def tell(self, moved: Sequence[Lane], done: int, in_flight: int) -> None:
        """Publish the progress of the lanes that have moved.

        done:      records done in all lanes, as any number that only grows.
        in_flight: records not yet acknowledged.
        """
        for lane in moved:
            self._writer.publish(lane.source, lane.progress())
        waiting = in_flight > 0
        if waiting and not self._waiting:
            self._health.begin(ACKNOWLEDGEMENTS)
        elif not waiting and self._waiting:
            self._health.end(ACKNOWLEDGEMENTS)
        elif done != self._done:
            self._health.moved(ACKNOWLEDGEMENTS)
        self._waiting, self._done = waiting, done
        self._compare_clocks()

    def _compare_clocks(self) -> None:
        difference = self._writer.difference_ms
        if difference is None:
            return
        self._metrics.clock_difference.set(difference / 1_000)
        if abs(difference) > self._grace and monotonic() - self._warned > WARN_S:
            self._warned = monotonic()
            logger.warning(
                "the brokers' clock is %+d ms from this machine's, more than the grace of %d ms (tick_grace_ms): "
                "what is due may be decided before an event that came in time",
                difference,
                self._grace,
            )


async def announce(writer: ProgressWriter, lanes: Sequence[Lane]) -> None:
    """Publish lanes' versions and wait until that is acknowledged: only then may a record be made under them.

    Raises Stalled.
    """
    deadline = monotonic() + ANNOUNCE_S
    waiting = {lane.source: lane for lane in lanes}

    def delivered(source: str) -> Callable[[KafkaError | None], None]:
        def report(error: KafkaError | None) -> None:
            if error is None:
                waiting.pop(source, None)
            else:
                logger.warning("the ingest version could not be written yet: %s", error.str())

        return report

    while waiting:
        for source, lane in list(waiting.items()):
            writer.publish(source, lane.progress(), delivered(source))
        attempt = monotonic() + 5.0
        while waiting and monotonic() < attempt:
            writer.poll()
            await asyncio.sleep(0.002)
        if waiting and monotonic() > deadline:
            raise Stalled(f"ingest-progress took no record for {ANNOUNCE_S:.0f} s")
