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
    from rtcdp.worker import profiles

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
    from rtcdp.worker.lanes import Lane

    conf, lane = gapless.gapless_conf, Lane
    gapless.gapless_conf = lambda *args: {**conf(*args), "linger.ms": 1_000}
    advance: Callable[..., bool] = lane.advance
    hasty: Any = lambda self, _, *rest: advance(self, self.position - 1, *rest)  # noqa: E731 # it replaces a method
    lane.advance = hasty


def progress() -> None:
    """Ingest does not know how far it was."""
    from rtcdp.transport.consumer import Consumer
    from rtcdp.worker.progress import ProgressTable

    async def none(*_: Any) -> dict[Any, int]:
        return {}

    table: Any = ProgressTable
    consumer: Any = Consumer
    table.read, consumer.group_offsets = lambda _: {}, none


OFF: Mapping[str, Callable[[], None]] = {**SHARED, **{one.__name__: one for one in (restoring, acknowledgements, progress)}}


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
