"""`--standby`: a copy of the profiles that other workers own, so that a takeover has only the last moment to read.

One thread follows the changelog of every partition that is not owned here. It reads committed records only, fences nobody and
decides nothing: a takeover fences, goes on reading where the copy ends, and checks the position as always.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rtcdp.servers.cluster import first_offset
from rtcdp.transport.failures import cause
from rtcdp.transport.settings import restore_conf
from rtcdp.worker.profiles.stores import MemoryStore

logger = logging.getLogger(__name__)

POLL_S = 0.2
CHUNK = 5_000
AGAIN_S = 1.0


class Standby:
    """Copies of the changelog partitions that are not owned here.

    kafka:      librdkafka's options for reaching the cluster.
    changelog:  the topic.
    partitions: how many it has.
    group:      name in the client's logs; no group is joined.
    """

    def __init__(self, kafka: Mapping[str, Any], changelog: str, partitions: int, group: str) -> None:
        self._conf = {**restore_conf(kafka, group), "log_level": 0}
        self._changelog = changelog
        self._partitions = partitions
        self._lock = threading.Lock()
        self._copies: dict[int, dict[bytes, bytes]] = {}
        self._offsets: dict[int, int] = {}
        self._ends: set[int] = set()
        self._owned: frozenset[int] = frozenset()
        self._changed = True
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def own(self, partitions: Iterable[int]) -> None:
        """These are owned here now: they are followed no longer, the others are."""
        with self._lock:
            owned = frozenset(partitions)
            self._changed = self._changed or owned != self._owned
            self._owned = owned
            for number in owned:
                self._copies.pop(number, None)
                self._offsets.pop(number, None)

    def take(self, number: int) -> MemoryStore:
        """The copy of a partition, to go on from; an empty store where there is none."""
        with self._lock:
            copy, offset = self._copies.pop(number, None), self._offsets.pop(number, None)
        return MemoryStore(copy, offset)

    def ready(self) -> frozenset[int]:
        """The partitions whose copy has once come to the end of its changelog."""
        with self._lock:
            return frozenset(self._ends) & self._copies.keys()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except KafkaException as failure:
                logger.warning("%s cannot be followed, trying again: %s", self._changelog, cause(failure).str())
                self._changed = True
                self._stopping.wait(AGAIN_S)

    def _follow(self) -> None:
        consumer = Consumer(self._conf)
        try:
            while not self._stopping.is_set():
                if self._changed:
                    self._assign(consumer)
                first = consumer.poll(POLL_S)
                if first is not None:
                    self._put((first, *consumer.consume(CHUNK, 0)))
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        with self._lock:
            self._changed = False
            wanted = {number: self._offsets.get(number) for number in range(self._partitions) if number not in self._owned}
        starts = {
            number: first_offset(consumer, self._changelog, number) if offset is None else offset
            for number, offset in wanted.items()
        }
        with self._lock:
            for number, start in starts.items():
                if number not in self._owned and number not in self._copies:
                    self._copies[number], self._offsets[number] = {}, start
                    self._ends.discard(number)
        consumer.assign([TopicPartition(self._changelog, number, start) for number, start in starts.items()])

    def _put(self, messages: Iterable[Message]) -> None:
        with self._lock:
            for message in messages:
                error, number = message.error(), message.partition() or 0
                copy = self._copies.get(number)
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        self._ends.add(number)
                    elif not error.retriable():
                        raise KafkaException(error)
                    continue
                offset = message.offset() or 0
                if copy is None or offset < self._offsets[number]:
                    continue  # taken over meanwhile, or read before a new assignment
                key, value = message.key() or b"", message.value()
                if value is None:
                    copy.pop(key, None)
                else:
                    copy[key] = value
                self._offsets[number] = offset + 1
