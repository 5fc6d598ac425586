"""What lies in the topics of a deployment, as a reader of committed records sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from faults.processes import wait_for
from rtcdp.settings.config import Settings


class Topics:
    """Reads the topics of a deployment; from where `bootstrap` says, which need not be where its workers read."""

    def __init__(self, bootstrap: str, settings: Settings) -> None:
        self._bootstrap, self._settings = bootstrap, settings

    def end_of(self, topic: str) -> int:
        """How many offsets a topic has, up to where open transactions begin."""
        reader = self.reader()
        try:
            parts = reader.list_topics(topic, timeout=5).topics[topic].partitions
            return sum(reader.get_watermark_offsets(TopicPartition(topic, number), timeout=5)[1] for number in parts)
        except (KeyError, KafkaException):
            return 0
        finally:
            reader.close()

    def reader(self, **more: Any) -> Consumer:
        """A consumer of what is committed, without a group."""
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": f"{self._settings.app}-rig",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "log_level": 0,
                **more,
            }
        )

    def read(self, *topics: str) -> Iterator[Message]:
        """Everything that is committed in topics now."""
        reader = self.reader(**{"enable.partition.eof": True})
        try:
            places = [TopicPartition(topic, number, 0) for topic in topics for number in range(self._settings.partitions)]
            reader.assign(places)
            left = {(place.topic, place.partition) for place in places}
            while left:
                for message in reader.consume(10_000, 0.2):
                    if message.error() is None:
                        yield message
                    else:
                        left.discard((message.topic(), message.partition()))
        finally:
            reader.close()

    def ends(self, topic: str) -> dict[int, int]:
        """The end of each partition of a topic, up to where open transactions begin."""
        reader = self.reader()
        try:
            parts = reader.list_topics(topic, timeout=10).topics[topic].partitions
            return {number: reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1] for number in parts}
        finally:
            reader.close()

    def answers(self, wanted: int, seconds: float, starts: Mapping[int, int] | None = None) -> dict[str, dict[str, Any]]:
        """What profiles have answered to a probe, by profile key; waits for `wanted` of them, at most so long (s).

        starts: where to begin in each partition, as `ends` gave it before something was asked once more.
        """
        found: dict[str, dict[str, Any]] = {}
        reader = self.reader()
        try:
            topic = self._settings.triggers
            wait_for(lambda: topic in reader.list_topics(timeout=10).topics, seconds, f"the topic {topic}")
            partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
            reader.assign([TopicPartition(topic, number, (starts or {}).get(number, 0)) for number in partitions])
            deadline = time.monotonic() + seconds
            while len(found) < wanted and time.monotonic() < deadline:
                first = reader.poll(0.1)
                for message in () if first is None else (first, *reader.consume(2_000, 0)):
                    if message.error() is None:
                        data = json.loads(message.value() or b"")["data"]
                        if data["trigger"] == "state":
                            found[data["profile"]] = data["payload"]
        finally:
            reader.close()
        return found
