"""Where partitions begin and end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic, sleep
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from faust.types import TP

from rtcdp.errors import ClusterError
from rtcdp.transport.failures import cause
from rtcdp.transport.settings import fetch_conf

TIMEOUT = 30.0
SPREAD = 10.0
"""How long a topic just created may be unknown to a broker (s)."""
UNKNOWN = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})


def partition_bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """First and end offset of a partition. Blocks; raises ClusterError where they cannot be asked."""
    patience = monotonic() + SPREAD
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT)
        except KafkaException as error:
            if cause(error).code() not in UNKNOWN or monotonic() > patience:
                raise ClusterError(f"{topic}/{partition} cannot be read: {cause(error).str()}") from error
            sleep(0.1)


def bounds(kafka: Mapping[str, Any], group: str, partitions: Iterable[TP]) -> dict[TP, tuple[int, int]]:
    """First and end offset of partitions. Blocks; raises ClusterError where one cannot be asked."""
    asked = list(partitions)
    if not asked:
        return {}
    consumer = Consumer(fetch_conf(kafka, group))
    try:
        return {tp: partition_bounds(consumer, tp.topic, tp.partition) for tp in asked}
    finally:
        consumer.close()


def delete_before(kafka: Mapping[str, Any], offsets: Mapping[TP, int]) -> None:
    """Delete the records of partitions before these offsets. Blocks; raises ClusterError where one cannot be."""
    admin = AdminClient({**kafka, "log_level": 0})
    asked = admin.delete_records([TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()])
    for place, future in asked.items():
        try:
            future.result(TIMEOUT)
        except KafkaException as error:
            raise ClusterError(f"{place.topic}/{place.partition}: records cannot be deleted: {cause(error).str()}") from error
