"""Reading one partition of a compacted topic to its end, in bulk: what a table is rebuilt from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from rtcdp.errors import ClusterError, Stalled
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.failures import cause
from rtcdp.transport.settings import restore_conf

CHUNK = 5_000
Progress = Callable[[int, int], None]


DAMAGED = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION})


class Damaged(ClusterError):
    """What the broker keeps of the partition is not what was written."""


class Stopped(Exception):
    """The restore was told to stop before its end."""


def restore(  # noqa: PLR0913 # by keyword, each with its own meaning
    kafka: Mapping[str, Any],
    topic: str,
    partition: int,
    into: MutableMapping[bytes, bytes],
    *,
    group: str = "restore",
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    stall: float = 60.0,
    start: int | None = None,
) -> int:
    """Read a partition from its beginning to its end and put the newest value of each key into `into`.

    kafka:    librdkafka's options for reaching the cluster.
    into:     keys and values as bytes; a tombstone removes its key.
    progress: called after each chunk with the next offset and the end offset.
    stop:     asked after each chunk; true ends the restore with Stopped.
    stall:    how long nothing may arrive (s) before Stalled is raised.
    start:    offset from which on `into` lacks what is there; None: it is empty.

    Blocks: call it in a thread. Aborted records are left out. Returns the number of records read. Raises ClusterError where
    the partition cannot be read, Damaged where its checksums do not hold.
    """
    consumer = Consumer(restore_conf(kafka, group))
    try:
        low, high = partition_bounds(consumer, topic, partition)
        if start is not None and start > high:
            raise ClusterError(f"{topic}/{partition} ends at {high}, and {start} of it have been read: it has lost records")
        # A number, not OFFSET_BEGINNING: that costs half a second on a cold client.
        consumer.assign([TopicPartition(topic, partition, low if start is None else max(low, start))])
        return _read(consumer, f"{topic}/{partition}", high, into, progress, stop, stall)
    except KafkaException as error:
        raise ClusterError(f"{topic}/{partition} cannot be read: {cause(error).str()}") from error
    finally:
        consumer.close()


def _read(
    consumer: Consumer,
    name: str,
    high: int,
    into: MutableMapping[bytes, bytes],
    progress: Progress | None,
    stop: Callable[[], bool] | None,
    stall: float,
) -> int:
    count = 0
    moved = monotonic()
    while True:
        first = consumer.poll(0.2)
        if stop is not None and stop():
            raise Stopped(name)
        if first is None:
            if monotonic() - moved > stall:
                raise Stalled(f"{name}: nothing arrived for {stall:.0f} s of restoring")
            continue
        moved = monotonic()
        for message in (first, *consumer.consume(CHUNK, 0)):
            error = message.error()
            if error is None:
                key, value = message.key() or b"", message.value()
                if value is None:
                    into.pop(key, None)
                else:
                    into[key] = value
                count += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                if progress is not None:
                    progress(max(high, message.offset() or 0), high)
                return count
            elif error.code() in DAMAGED:
                raise Damaged(f"{name} is damaged: {error.str()}")
            elif not error.retriable():
                raise KafkaException(error)
        if progress is not None:
            progress((message.offset() or 0) + 1, high)
