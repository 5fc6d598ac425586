"""What the cluster says of its topics: ids, partitions, ends. For processes at their start and for commands; it all blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from rtcdp.errors import ClusterError

REQUEST_S = 15.0
MOCK_CLUSTER = "mockCluster"  # what librdkafka's mock calls itself
NO_ID = "A" * 22  # sixteen zero bytes: a broker from before topic ids (Kafka 2.8)


@dataclass(frozen=True)
class Cluster:
    """Facts about the cluster, as they were at the start.

    topic_ids:         topic name to id, as Kafka's own tools write it; the name where the broker knows no ids.
    partitions:        topic name to number of partitions.
    max_message_bytes: topic name to the size of the largest batch it takes (bytes).
    brokers:           how many there are.
    embedded:          whether it is librdkafka's mock.
    unchecked:         what could not be checked, one sentence each.
    """

    topic_ids: Mapping[str, str]
    partitions: Mapping[str, int]
    max_message_bytes: Mapping[str, int]
    brokers: int = 1
    embedded: bool = False
    unchecked: tuple[str, ...] = ()

    def sources(self, topic: str) -> list[str]:
        """Names of the topic's partitions in origins and progress: `<topic id>/<partition>`."""
        return [source_name(self.topic_ids[topic], partition) for partition in range(self.partitions[topic])]


def source_name(topic_id: str, partition: int) -> str:
    """How a source partition is named in origins and on `ingest-progress`: `<topic id>/<partition>`."""
    return f"{topic_id}/{partition}"


def is_embedded(metadata: Any) -> bool:
    """Whether that is the metadata of librdkafka's mock, which has no ids, options or permissions."""
    return str(metadata.cluster_id or "").startswith(MOCK_CLUSTER)


def topic_id(name: str, found: Any) -> str:
    """A topic's id as Kafka's own tools write it (URL-safe base64: no `/` in it), or its name where there is no id."""
    text = "" if found is None else str(found).rstrip("=").replace("+", "-").replace("/", "_")
    return name if text in ("", NO_ID) else text


def cause(failure: KafkaException) -> KafkaError:
    """The error inside an exception."""
    error: Any = failure.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))


def ends(admin: AdminClient, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The offset after the last record of each partition (topic, number), open transactions included.

    A partition that could not be asked is absent. Blocks, for one request.
    """
    asked: dict[TopicPartition, OffsetSpec] = {TopicPartition(*partition): OffsetSpec.latest() for partition in partitions}
    if not asked:
        return {}
    found = {}
    for partition, future in admin.list_offsets(
        asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=REQUEST_S
    ).items():
        try:
            result: Any = future.result(REQUEST_S + 5)
        except KafkaException:
            continue
        # A connection cut between request and answer can give a negative offset instead of an error: no answer either.
        if result.offset >= 0:
            found[partition.topic, partition.partition] = result.offset
    return found


def first_offset(consumer: Consumer, topic: str, partition: int, seconds: float = 10.0) -> int:
    """Offset of a partition's first record. Blocks; asks again for `seconds`, since a new topic is not known everywhere.

    Raises KafkaException where there is no answer until then.
    """
    deadline = monotonic() + seconds
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), seconds)[0]
        except KafkaException:
            if monotonic() > deadline:
                raise
            sleep(0.05)


def source_ends(kafka: Mapping[str, Any], topics: Iterable[str]) -> dict[str, int]:
    """The end of every partition of topics, by `source_name`.

    kafka: librdkafka's options for reaching the cluster.

    Raises ClusterError where the cluster or a topic cannot be asked.
    """
    admin = AdminClient({**kafka, "log_level": 0})
    names = list(topics)
    try:
        metadata = admin.list_topics(timeout=REQUEST_S)
        missing = [name for name in names if name not in metadata.topics]
        if missing:
            raise ClusterError(f"topic {missing[0]} does not exist")
        ids = {name: name for name in names}
        if not is_embedded(metadata):
            described = admin.describe_topics(TopicCollection(names), request_timeout=REQUEST_S)
            ids = {name: topic_id(name, future.result(REQUEST_S + 5).topic_id) for name, future in described.items()}
    except KafkaException as failure:
        raise ClusterError(f"Kafka does not say what its topics are: {cause(failure).str()}") from None
    partitions = [(name, number) for name in names for number in metadata.topics[name].partitions]
    found = ends(admin, partitions)
    silent = [f"{name}/{number}" for name, number in partitions if (name, number) not in found]
    if silent:
        raise ClusterError(f"Kafka does not say where {silent[0]} ends")
    return {source_name(ids[name], number): offset for (name, number), offset in found.items()}
