"""What commands need that work on a whole deployment while no worker runs: facts, the group, topics read to their ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic, sleep
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from rtcdp.control.versions import DefinitionsTopic, Versions
from rtcdp.errors import ClusterError
from rtcdp.folding.erasing import Marking
from rtcdp.sealing.sealer import opened
from rtcdp.servers.cluster import REQUEST_S, Cluster, cause
from rtcdp.servers.preflight import preflight
from rtcdp.settings.config import Settings
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.settings import restore_conf
from rtcdp.worker.layout import check_layout, first_version, marking_of, sealer_for

CHUNK = 5_000
COMING = (
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,
)
"""A cluster that has never had a group makes its coordinators now."""
COMING_S = 45.0
SESSION_S = 12.0
"""A little more than the session of a worker."""
CURRENT_KEYS = ("current", "proposed/", "layout/")


class Offline:
    """A deployment whose workers are stopped. Raises ClusterError where one runs, or the cluster is not as it must be.

    settings: as its workers have them. check: compare the log with what it was at the first start.
    """

    def __init__(self, settings: Settings, *, check: bool = True) -> None:
        self.settings = settings
        self.kafka = settings.kafka()
        self.admin = AdminClient({**self.kafka, "log_level": 0})
        self._check_group()
        self.cluster: Cluster = preflight(settings)
        self.topic = DefinitionsTopic(self.kafka, settings.definitions_topic, settings.app)
        self.topic.read()
        self.sealer = sealer_for(self.topic, settings, self.cluster, fresh=not check)
        if check:
            check_layout(self.topic, settings, self.cluster, keys="" if self.sealer is None else self.sealer.id)

    def opened(self, chunk: Sequence[Message]) -> list[tuple[bytes, bytes] | None]:
        """Keys and values of records of the log as they were before they were sealed; None: no key opens it any more."""
        return opened([(message.key(), message.value()) for message in chunk], self.sealer)

    @property
    def log_id(self) -> str:
        """Topic id of `profile-events`."""
        return self.cluster.topic_ids[self.settings.profile_events]

    @property
    def partitions(self) -> int:
        """How many partitions `profile-events` has."""
        return self.cluster.partitions[self.settings.profile_events]

    def name(self) -> Marking:
        """The keyed hash for the marks of erasures."""
        return marking_of(self.topic, self.settings.app, self.sealer)

    def versions(self) -> Versions:
        """Every version of the definitions. Raises SettingError where none is current."""
        return Versions(self.topic)

    def first_version(self) -> str:
        """The version under which the log begins. Raises ClusterError where there is none."""
        return first_version(self.topic, self.settings.app)

    def committed(self, topic: str) -> dict[int, int]:
        """The group's offsets in a topic; partitions without one are absent. Raises ClusterError."""
        consumer = Consumer({**self.kafka, "group.id": self.settings.app, "enable.auto.commit": False, "log_level": 0})
        try:
            asked = [TopicPartition(topic, number) for number in range(self.cluster.partitions[topic])]
            return {one.partition: one.offset for one in consumer.committed(asked, REQUEST_S) if one.offset >= 0}
        except KafkaException as failure:
            raise ClusterError(f"the group's offsets cannot be read: {cause(failure).str()}") from failure
        finally:
            consumer.close()

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First and end offset. Raises ClusterError."""
        consumer = Consumer(self._conf())
        try:
            return partition_bounds(consumer, topic, partition)
        finally:
            consumer.close()

    def read(self, topic: str, partition: int, start: int | None = None) -> Iterator[list[Message]]:
        """Everything committed in a partition, from an offset or its beginning, in chunks. Raises ClusterError."""
        consumer = Consumer(self._conf())
        try:
            low, _ = partition_bounds(consumer, topic, partition)
            consumer.assign([TopicPartition(topic, partition, low if start is None else max(low, start))])
            over = False
            while not over:
                first = consumer.poll(1.0)
                chunk = []
                for message in () if first is None else (first, *consumer.consume(CHUNK, 0)):
                    error = message.error()
                    if error is None:
                        chunk.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        over = True
                    elif not error.retriable():
                        raise ClusterError(f"{topic}/{partition} cannot be read: {error.str()}")
                if chunk:
                    yield chunk
        finally:
            consumer.close()

    def _conf(self) -> dict[str, Any]:
        return restore_conf(self.kafka, self.settings.app)

    def _check_group(self) -> None:
        """Wait until the group is empty: one that was killed, or has a stable name, is a member until its session ends."""
        deadline = monotonic() + SESSION_S
        while members := self._members(monotonic() + COMING_S):
            if monotonic() > deadline:
                raise ClusterError(f"{members} workers of {self.settings.app} are running: stop them first")
            sleep(0.2)

    def _members(self, deadline: float) -> int:
        describe: Any = self.admin.describe_consumer_groups  # the stubs give it another result
        asked = describe([self.settings.app], request_timeout=REQUEST_S)[self.settings.app]
        try:
            return len(asked.result(REQUEST_S + 5).members)
        except KafkaException as failure:
            code = cause(failure).code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            if code in COMING and monotonic() < deadline:
                sleep(0.2)
                return self._members(deadline)
            raise ClusterError(f"the consumer group cannot be looked at: {cause(failure).str()}") from None
