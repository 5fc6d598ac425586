"""Protections that a worker of a test can be started without: a fault test that stays green then proves nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from faults.controls import OFF as SHARED

from rtcdp.position import POSITION_KEY


def restoring() -> None:
    """A partition is taken over with its position, but without its profiles."""
    from rtcdp.worker.profiles import agent as profiles

    restore = profiles.restore

    def without(kafka: Mapping[str, Any], topic: str, number: int, into: dict[bytes, bytes], **options: Any) -> int:
        count = restore(kafka, topic, number, into, **options)
        for key in into.keys() - {POSITION_KEY}:
            del into[key]
        return count

    profiles.restore = without


def acknowledgements() -> None:
    """What ingest has produced counts as done, whether a broker has it or not; and it takes its time to send it."""
    from rtcdp.transport import gapless
    from rtcdp.worker.ingest.lanes import Lane

    conf, lane = gapless.gapless_conf, Lane
    gapless.gapless_conf = lambda *args: {**conf(*args), "linger.ms": 1_000}
    advance: Callable[..., bool] = lane.advance
    hasty: Any = lambda self, _, *rest: advance(self, self.position - 1, *rest)  # noqa: E731 # it replaces a method
    lane.advance = hasty


def progress() -> None:
    """Ingest does not know how far it was."""
    from rtcdp.transport.consumer import Consumer
    from rtcdp.worker.ingest.progress import ProgressTable

    async def none(*_: Any) -> dict[Any, int]:
        return {}

    table: Any = ProgressTable
    consumer: Any = Consumer
    table.read, consumer.group_offsets = lambda _: {}, none


def promptness() -> None:
    """Faust takes its time between its seek and the moment at which it empties the queues of its streams and goes on."""
    import asyncio

    from rtcdp.transport.consumer import Consumer

    consumer: Any = Consumer
    seek = consumer.perform_seek

    async def slow(self: Any) -> None:
        await seek(self)
        time.sleep(0.5)  # noqa: ASYNC251 # meanwhile records are fetched
        for _ in range(200):  # and now turns are given, and wait in a queue for their agent
            if any(queue.qsize() >= 3 for queue in self.app.flow_control._queues):
                break
            await asyncio.sleep(0)

    consumer.perform_seek = slow


OFF: Mapping[str, Callable[[], None]] = {
    **SHARED,
    **{one.__name__: one for one in (restoring, acknowledgements, progress, promptness)},
}


def dwell(seconds: float) -> None:
    """Stay so long between the outputs of a batch and its changelog: there a kill or a pause does the most harm."""
    from rtcdp.transport.transactions import TransactionalProducer

    producer: Any = TransactionalProducer
    produce = producer.produce

    def late(self: Any, topic: str, *rest: Any) -> Any:
        if topic.endswith("-profiles-changelog"):
            time.sleep(seconds)
        return produce(self, topic, *rest)

    producer.produce = late


def switch_off() -> None:
    """Switch off what the environment of this process names."""
    for name in os.environ.get("WORKER_WITHOUT", "").split():
        OFF[name]()
