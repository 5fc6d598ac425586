"""Where a back-test's past comes from: a file of events, a recorded log, or a range of a Kafka topic."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from rtcdp.errors import ClusterError, SettingError
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.rules.definitions import Definitions
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import RESERVED, opened
from rtcdp.servers.cluster import cause
from rtcdp.settings.config import Settings
from rtcdp.simulate.sources import csv_events, is_csv, json_lines, log_records, open_bytes, opened_log

TOPIC = "topic:"
MANY = 10_000
PATIENCE_S = 30.0
METADATA_S = 10.0
SOON_MS = 10
"""A broker tells the end of a partition only when it stops waiting for more."""
Row = tuple[bytes, bytes]


@dataclass(frozen=True)
class History:
    """Events of the past; a plain value, so that another process can read them too.

    events:   path of JSON lines or CSV (also .gz), or `topic:NAME`.
    is_log:   they are records of `profile-events`, cleaned and keyed already; else raw events.
    mapping:  columns of a CSV file, as for `rtcdp replay`.
    kafka:    librdkafka's options, for a topic.
    settings: of the deployment whose log it is, where personal data in it is encrypted.
    since, until: of a topic, the records appended in [since, until) (ms); None: from the first, to what is there now.
    """

    events: str
    is_log: bool = False
    mapping: str | None = None
    kafka: Mapping[str, Any] = field(default_factory=dict)
    since: int | None = None
    until: int | None = None
    settings: Settings | None = None

    def rows(self, definitions: Definitions) -> Iterator[Row]:
        """Key and value of each event as `profile-events` holds it, in order per profile; ticks and switches are left out.

        Raw events are cleaned and keyed under these definitions. What is refused is left out.
        Raises SettingError, ClusterError.
        """
        if self.is_log:
            yield from self._logged()
            return
        ingestor = Ingestor(definitions.tracking, definitions.identity, Source("history", time="event"))
        now = time.time_ns() // 1_000_000
        for offset, value in enumerate(self._raw()):
            found = ingestor.ingest(value, "history/0", offset, now)
            if isinstance(found, Accepted):
                yield found.key, found.value

    def _logged(self) -> Iterator[Row]:
        if self.events.startswith(TOPIC):
            for key, value in self._opened():
                if not key.startswith(RESERVED):
                    yield key, value
            return
        sealer = None if self.settings is None else sealer_of(self.settings, 1)
        with open_bytes(self.events) as stream:
            for _, _, name, written in opened_log(log_records(stream), sealer, Counter()):
                if name is not None and written is not None and not name.startswith(RESERVED):
                    yield name, written

    def _opened(self) -> Iterator[Row]:
        """The log as it was before it was sealed, without what no key opens any more."""
        sealer = None
        if self.settings is not None and self.settings.encryption != "off":
            with self._consumer(name := self.events.removeprefix(TOPIC)) as consumer:
                partitions = len(consumer.list_topics(name, timeout=METADATA_S).topics[name].partitions)
            sealer = sealer_of(self.settings, partitions)
        rows = self._topic()
        while some := list(islice(rows, MANY)):
            yield from (one for one in opened(some, sealer) if one is not None)

    def _raw(self) -> Iterator[bytes | None]:
        if self.events.startswith(TOPIC):
            for _, value in self._topic():
                yield value
            return
        with open_bytes(self.events) as stream:
            if self.mapping is not None:
                yield from csv_events(stream, self.mapping)
            elif is_csv(self.events):
                raise SettingError("--map: a CSV file needs a column mapping, like user_id=uid,event=name,timestamp=at")
            else:
                yield from json_lines(stream)

    def _topic(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        """The range, by time over all partitions: who is whose depends on what came first."""
        name = self.events.removeprefix(TOPIC)
        with self._consumer(name) as consumer:
            numbers = sorted(consumer.list_topics(name, timeout=METADATA_S).topics[name].partitions)
            if not numbers:
                raise ClusterError(f"{name}: there is no such topic")
        for message in heapq.merge(*[self._partition(name, number) for number in numbers], key=_appended):
            yield message.key(), message.value()

    @contextmanager
    def _consumer(self, name: str) -> Iterator[Consumer]:
        pinned = {"group.id": "rtcdp-backtest", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
        soon = {"fetch.wait.max.ms": SOON_MS}
        consumer = Consumer({**self.kafka, **pinned, **soon})
        try:
            yield consumer
        except KafkaException as failure:
            raise ClusterError(f"{name} cannot be read: {cause(failure).str()}") from failure
        finally:
            consumer.close()

    def _partition(self, name: str, number: int) -> Iterator[Message]:
        """The range of one partition; each has a consumer of its own, so that none waits for what another has not read."""
        with self._consumer(name) as consumer:
            first, end = self._range(consumer, name, number)
            if first < end:
                consumer.assign([TopicPartition(name, number, first)])
                yield from self._read(consumer, name, end)

    def _range(self, consumer: Consumer, name: str, number: int) -> tuple[int, int]:
        """The offsets [first, end) of a partition."""
        low, high = consumer.get_watermark_offsets(TopicPartition(name, number), METADATA_S)

        def at(time_ms: int | None, otherwise: int) -> int:
            if time_ms is None:
                return otherwise
            (found,) = consumer.offsets_for_times([TopicPartition(name, number, time_ms)], METADATA_S)
            return high if found.offset in (OFFSET_END, -1) else int(found.offset)

        return at(self.since, low), at(self.until, high)

    @staticmethod
    def _read(consumer: Consumer, name: str, end: int) -> Iterator[Message]:
        waiting = time.monotonic() + PATIENCE_S
        while True:
            first = consumer.poll(1.0)  # `consume` alone would wait in full for what makes its number whole
            messages: list[Message] = [] if first is None else [first, *consumer.consume(MANY, 0)]
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise ClusterError(f"{name} cannot be read: {error.str()}")
                if (message.offset() or 0) >= end:
                    return
                yield message
                if (message.offset() or 0) == end - 1:
                    return
            if messages:
                waiting = time.monotonic() + PATIENCE_S
            elif time.monotonic() > waiting:
                raise ClusterError(f"{name} could not be read to its end: no answer for {PATIENCE_S:.0f} s")


def _appended(message: Message) -> int:
    return message.timestamp()[1]
