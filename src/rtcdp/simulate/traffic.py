"""The two ends of the demo: a plain producer that plays the shop, and a plain consumer of everything that comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Event, Thread
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from rtcdp.errors import ClusterError
from rtcdp.simulate.board import Board
from rtcdp.simulate.oracle import Output
from rtcdp.simulate.sources import LogRecord

SLICE_S = 0.01  # how often the feeder sends what is due
FLUSH_S = 60.0


class Timed(NamedTuple):
    """A raw record and the shop's time (ms)."""

    key: bytes | None
    value: bytes | None
    at: int


class Feeder(Thread):
    """Sends the shop's records at a rate, with librdkafka's own partitioner (CRC32 of the key), as any tracker would.

    rate:      records per second; 0 for as fast as possible.
    allowed:   how many records may have been sent by now; keeps a small broker from running over.
    confirmed: how many records, counted from the first, the broker has acknowledged without a gap.
    failed:    delivery errors; empty when all has been acknowledged.
    """

    def __init__(
        self, bootstrap: str, topic: str, records: Sequence[Timed], rate: float, board: Board, allowed: Callable[[], int]
    ) -> None:
        super().__init__(name="shop", daemon=True)
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2})
        self._topic = topic
        self._records = records
        self._rate = rate
        self._board = board
        self._allowed = allowed
        self._stopped = Event()
        self._acknowledged = bytearray(len(records))
        self.confirmed = 0
        self.began = 0.0
        self.failed: list[str] = []

    def run(self) -> None:
        """Send everything, then wait for the acknowledgements."""
        records, board = self._records, self._board
        self.began = time.monotonic()
        second, in_second = int(self.began), 0
        while board.sent < len(records) and not self._stopped.is_set():
            now = time.monotonic()
            due = len(records) if not self._rate else int((now - self.began) * self._rate) + 1
            until = min(due, self._allowed(), board.sent + 1_000, len(records))
            for number in range(board.sent, until):
                self._send(number)
            in_second += max(0, until - board.sent)
            board.sent = max(board.sent, until)
            board.shop_time = records[board.sent - 1].at if board.sent else 0
            if int(now) > second:
                board.rates.append(in_second)
                second, in_second = int(now), 0
            self._producer.poll(0)
            if board.sent >= due or until < due:
                self._stopped.wait(SLICE_S)
        left = self._producer.flush(FLUSH_S)
        if left:
            self.failed.append(f"{left} records were not acknowledged")

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        self.join(FLUSH_S)

    def _send(self, number: int) -> None:
        record = self._records[number]
        while True:
            try:
                self._producer.produce(self._topic, record.value, record.key, on_delivery=partial(self._delivered, number))
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def _delivered(self, number: int, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self.failed.append(str(error))
            return
        self._acknowledged[number] = 1
        unconfirmed = self._acknowledged.find(0, self.confirmed)
        self.confirmed = len(self._acknowledged) if unconfirmed < 0 else unconfirmed


class Reader(Thread):
    """Reads the topics of outputs from their beginning, read_committed, and puts everything on the board.

    topics: topic name to role (`profile-changes`, `triggers`, `events-dlq`).
    """

    def __init__(self, bootstrap: str, topics: dict[str, str], board: Board) -> None:
        super().__init__(name="outputs", daemon=True)
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": "demo-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",  # a hole must be seen, not skipped
            "fetch.wait.max.ms": 20,  # the embedded broker does not end a long poll when records come
        })  # fmt: skip
        self._topics = topics
        self._board = board
        self._stopped = Event()
        self.failed: list[str] = []

    def run(self) -> None:
        """Read until stopped."""
        known = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign(
            [TopicPartition(topic, number, OFFSET_BEGINNING) for topic in self._topics for number in known[topic].partitions]
        )
        while not self._stopped.is_set():
            for message in self._consumer.consume(500, 0.05):
                if (error := message.error()) is not None:
                    self.failed.append(str(error))
                    continue
                role = self._topics[message.topic() or ""]
                self._board.take(Output(role, _bytes(message.key()), _bytes(message.value())))
        self._consumer.close()

    def stop(self) -> None:
        """End; returns when the consumer is closed."""
        self._stopped.set()
        self.join(10)


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def read_topic(bootstrap: str, topic: str) -> list[LogRecord]:
    """All of `topic_records`."""
    return list(topic_records({"bootstrap.servers": bootstrap}, topic))


def topic_records(kafka: Mapping[str, Any], topic: str) -> Iterator[LogRecord]:
    """All records that a topic holds now, read_committed, one partition after the other.

    Those of `profile-events`, written as JSON lines (`sources.write_record`), are what `rtcdp replay --profile-events`
    reads. Raises ClusterError where the cluster does not answer.
    """
    options: dict[str, Any] = {
        **kafka,
        "group.id": "rtcdp-reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 10,  # the end of a partition is only told when the broker stops waiting for more
    }
    consumer = Consumer(options)
    try:
        numbers = sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        if not numbers:
            raise ClusterError(f"{topic}: there is no such topic")
        for number in numbers:
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING)])
            yield from _to_end(consumer, topic)
    except KafkaException as error:
        raise ClusterError(f"{topic} cannot be read: {error}") from None
    finally:
        consumer.close()


def _to_end(consumer: Consumer, topic: str) -> Iterator[LogRecord]:
    """What the partition that is assigned holds. Raises ClusterError."""
    while True:
        first = consumer.poll(1.0)
        for message in () if first is None else (first, *consumer.consume(1_000, 0)):
            error = message.error()
            if error is None:
                yield LogRecord.of(message.partition() or 0, message.offset() or 0, message.key(), message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                return
            else:
                raise ClusterError(f"{topic} cannot be read: {error}")
