"""`ingest-progress`: how far each source partition is, told by whoever ingests it, read by everybody.

One compacted record per source partition, key `<topic id>/<partition>`. It is published behind the acknowledgements that
it speaks of, so everything in it is a fact, whoever wrote it and whoever owns the partition now.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from rtcdp.errors import ClusterError
from rtcdp.monitoring.metrics import now_ms
from rtcdp.servers.cluster import cause, first_offset

logger = logging.getLogger(__name__)

READ_S = 60.0
POLL_S = 0.2


class VersionPoint(msgspec.Struct, array_like=True, frozen=True):
    """From `offset` of the source partition on, records are made by this ingest version.

    version:     hash of what decides a record's key and cleaned form.
    definitions: a version of the definitions that says so, so that a successor can do the same again.
    """

    offset: int
    version: str
    definitions: str


class Progress(msgspec.Struct, kw_only=True):
    """What is known of a source partition.

    done:      everything below this offset has made its record, and that is acknowledged.
    watermark: everything appended before this time (ms) is done; 0: no time known (also in `event` mode).
    versions:  where which ingest version begins, oldest first.
    """

    done: int = 0
    watermark: int = 0
    versions: list[VersionPoint] = []


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Progress).decode


def ordered_conf(kafka: Mapping[str, Any], *, timeout_s: float, linger_ms: int = 0) -> dict[str, Any]:
    """Options of a producer for records that describe others: in order, without repeats, given up after `timeout_s`."""
    return {
        **kafka,
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "message.timeout.ms": round(timeout_s * 1_000),
        "message.max.bytes": 100_000_000,  # the topic's own limit is the one that counts
        "linger.ms": linger_ms,
    }


class ProgressWriter:
    """Publishes progress, and learns from the append times by how much this machine's clock differs from the brokers'.

    kafka: librdkafka's options for reaching the cluster.
    topic: `ingest-progress`.

    Not thread-safe. `difference_ms` is by how much at least the brokers' clock was ahead of this machine's (or behind it,
    negative) at the last record; 0 where both may be the same; None before the first.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str) -> None:
        # A record may be lost, the next one says more: it is given up after a while, and that ends nothing.
        self._producer = Producer(ordered_conf(kafka, timeout_s=30.0, linger_ms=5))
        self._topic = topic
        self.difference_ms: int | None = None
        self.failed: KafkaError | None = None

    def publish(self, source: str, progress: Progress, delivered: Callable[[KafkaError | None], None] | None = None) -> None:
        """Queue one record; `delivered` is called from `poll` or `flush` with None once it is acknowledged."""
        sent = now_ms()

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                # The broker stamped it some time between sending and now: only what lies outside is a difference.
                stamped = message.timestamp()[1]
                self.difference_ms = max(0, stamped - now_ms()) or min(0, stamped - sent)
            else:
                self.failed = error
            if delivered is not None:
                delivered(error)

        try:
            self._producer.produce(self._topic, encode(progress), source.encode(), on_delivery=report)
        except BufferError:  # a cluster that takes nothing: the next record says more anyway
            if delivered is not None:
                delivered(KafkaError(KafkaError._QUEUE_FULL))

    def poll(self) -> None:
        """Serve acknowledgements. Does not wait."""
        self._producer.poll(0)

    def flush(self, timeout: float) -> int:
        """Wait until everything is acknowledged, at most `timeout` s; returns how much is not."""
        left: int = self._producer.flush(timeout)
        return left


class ProgressTable:
    """Everything on `ingest-progress`, followed by a thread.

    kafka:      librdkafka's options for reaching the cluster.
    topic:      `ingest-progress`.
    partitions: how many it has.
    group:      name in the client's logs; no group is joined.
    wait_ms:    how long a broker may hold an empty fetch; a real one answers as soon as there is something.

    `entries` may be read from any thread; `revision` grows whenever something changed, and `told` is called after that, in
    the thread that follows.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, partitions: int, group: str, wait_ms: int = 100) -> None:
        self._conf = {
            **kafka,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": wait_ms,
            "fetch.min.bytes": 1,  # whatever falls due waits for it
            "log_level": 0,
        }
        self._topic = topic
        self._partitions = partitions
        self._stopping = threading.Event()
        self._loaded = threading.Event()
        self._thread: threading.Thread | None = None
        self.entries: dict[str, Progress] = {}
        self.revision = 0
        self.told: Callable[[], None] = lambda: None
        self.moved = monotonic()
        """When the thread last heard from the broker (monotonic s)."""

    def start(self) -> None:
        """Begin to follow."""
        self._thread = threading.Thread(target=self._run, name="ingest-progress", daemon=True)
        self._thread.start()

    def wait(self, timeout: float = READ_S) -> bool:
        """Wait until all that was there at the start has been read; false when that took too long."""
        return self._loaded.wait(timeout)

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def done(self, source: str) -> int:
        """Up to where a source partition is done; 0 where nothing is known."""
        found = self.entries.get(source)
        return 0 if found is None else found.done

    def read(self) -> dict[str, Progress]:
        """Everything there is now, through a client of its own. Blocks. Raises ClusterError."""
        found: dict[str, Progress] = {}
        # The end of a partition is only told when the broker stops waiting for more.
        consumer = Consumer({**self._conf, "fetch.wait.max.ms": 10})
        try:
            waiting = set(self._assign(consumer))
            deadline = monotonic() + READ_S
            while waiting:
                if monotonic() > deadline:
                    raise ClusterError(f"{self._topic} could not be read to its end within {READ_S:.0f} s")
                first = consumer.poll(POLL_S)
                for message in () if first is None else (first, *consumer.consume(1_000, 0)):
                    error = message.error()
                    if error is None:
                        _put(found, message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        waiting.discard(message.partition() or 0)
        except KafkaException as failure:
            raise ClusterError(f"{self._topic} cannot be read: {cause(failure).str()}") from failure
        finally:
            consumer.close()
        return found

    def _assign(self, consumer: Consumer) -> Iterable[int]:
        numbers = range(self._partitions)
        lows = [first_offset(consumer, self._topic, number) for number in numbers]
        # Numbers, not OFFSET_BEGINNING: that costs half a second on a cold client.
        consumer.assign([TopicPartition(self._topic, number, low) for number, low in zip(numbers, lows, strict=True)])
        return numbers

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except KafkaException as failure:
                logger.warning("%s cannot be followed, trying again: %s", self._topic, cause(failure).str())
                self._stopping.wait(1.0)

    def _follow(self) -> None:
        consumer = Consumer(self._conf)
        try:
            waiting = set(self._assign(consumer))
            while not self._stopping.is_set():
                changed = False
                first = consumer.poll(POLL_S)
                for message in () if first is None else (first, *consumer.consume(1_000, 0)):
                    error = message.error()
                    if error is None:
                        changed = _put(self.entries, message) or changed
                    elif error.code() == KafkaError._PARTITION_EOF:
                        waiting.discard(message.partition() or 0)
                if changed:
                    self.revision += 1
                    self.moved = monotonic()
                    self.told()
                if not waiting:
                    self._loaded.set()
        finally:
            consumer.close()


def _put(entries: dict[str, Progress], message: Message) -> bool:
    key, value = message.key(), message.value()
    if key is None or value is None:
        return False
    try:
        progress = decode(value)
    except (msgspec.MsgspecError, ValueError):
        logger.warning("%s/%s: offset %s is no progress record", message.topic(), message.partition(), message.offset())
        return False
    entries[key.decode("utf-8", "replace")] = progress
    return True
