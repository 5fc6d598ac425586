"""Reading the log for a projection: every partition of three topics, from given offsets, with one librdkafka consumer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rtcdp.errors import ClusterError
from rtcdp.position import POSITION_KEY
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.failures import cause
from rtcdp.transport.settings import fetch_conf

METADATA_S = 15.0
SILENCE_S = 30.0
CHUNK = 4_000
WAIT_MS = 100
"""The end of a partition is only told when the broker stops waiting for more."""
TAILS = (16, 2_000, 200_000)
"""How far before the end the newest position is looked for first: it is the last record of the last transaction."""


class Feed:
    """The partitions of some topics.

    kafka: librdkafka's options for reaching the cluster. group: name in the client's logs; no group is joined.

    `ends` is the offset after the last record known of each partition, by `topic/partition`.
    """

    def __init__(self, kafka: Mapping[str, Any], group: str) -> None:
        # A changelog may have holes where compaction was; retention may pass the place where we stood.
        options = fetch_conf(kafka, group, WAIT_MS) | {
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 4_194_304,
            "log_level": 0,
        }
        self._consumer = Consumer(options)
        self.ends: dict[str, int] = {}

    def partitions(self, topics: Iterable[str]) -> list[tuple[str, int]]:
        """Every partition of the topics. Raises ClusterError where Kafka does not answer or a topic is missing."""
        try:
            known = self._consumer.list_topics(timeout=METADATA_S).topics
        except KafkaException as error:
            raise ClusterError(f"no Kafka answers: {cause(error).str()}") from None
        found = []
        for topic in topics:
            if topic not in known or known[topic].error is not None:
                raise ClusterError(f"{topic}: there is no such topic; has a worker run here?")
            found += [(topic, number) for number in sorted(known[topic].partitions)]
        return found

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First and end offset of a partition. Raises ClusterError."""
        low, high = partition_bounds(self._consumer, topic, partition)
        self.ends[f"{topic}/{partition}"] = high
        return low, high

    def newest_positions(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], bytes]:
        """The newest entry under the reserved key of changelog partitions; absent where there is none."""
        found: dict[tuple[str, int], bytes] = {}
        left = {place: self.bounds(*place) for place in places}
        for tail in (*TAILS, None):
            starts = {place: low if tail is None else max(low, high - tail) for place, (low, high) in left.items()}
            for message in self._read_to_end(starts):
                value = message.value()
                if message.key() == POSITION_KEY and value is not None:
                    found[message.topic() or "", message.partition() or 0] = value
            left = {place: bounds for place, bounds in left.items() if place not in found and starts[place] > bounds[0]}
            if not left:
                break
        return found

    def start(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Read these partitions from these offsets on."""
        self._consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()])

    def take(self, wait_s: float) -> tuple[dict[tuple[str, int], list[Message]], list[tuple[str, int]]]:
        """What has come, by partition in order, and the partitions whose end was reached. Waits at most so long for the first.

        Raises ClusterError where reading cannot go on.
        """
        first = self._consumer.poll(wait_s)
        found: dict[tuple[str, int], list[Message]] = {}
        at_end = []
        for message in () if first is None else (first, *self._consumer.consume(CHUNK, 0)):
            error = message.error()
            place = (message.topic() or "", message.partition() or 0)
            if error is None:
                found.setdefault(place, []).append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                at_end.append(place)
                self.ends[f"{place[0]}/{place[1]}"] = message.offset() or 0
            elif not (error.retriable() or error.code() in _PASSING):
                raise ClusterError(f"{place[0]}/{place[1]} cannot be read: {error.str()}")
        return found, at_end

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def _read_to_end(self, starts: Mapping[tuple[str, int], int]) -> Iterator[Message]:
        self.start(starts)
        left, moved = set(starts), monotonic()
        while left:
            first = self._consumer.poll(0.5)
            if first is None:
                if monotonic() - moved > SILENCE_S:
                    topic, partition = min(left)
                    raise ClusterError(f"{topic}/{partition} could not be read within {SILENCE_S:.0f} s")
                continue
            moved = monotonic()
            for message in (first, *self._consumer.consume(CHUNK, 0)):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((message.topic() or "", message.partition() or 0))
                elif not (error.retriable() or error.code() in _PASSING):
                    raise ClusterError(f"the changelog cannot be read: {error.str()}")


_PASSING = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT})
"""What ends by itself when the broker is back: librdkafka goes on trying."""
