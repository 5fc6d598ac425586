from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition

from rtcdp.errors import ClusterError, Fenced, Stalled
from rtcdp.transport.restore import restore
from rtcdp.transport.transactions import Aborted, TransactionalProducer


def committed(kafka: str, topic: str, partition: int = 0) -> list[bytes]:
    """Values that a reader of committed records sees, to the end."""
    reader = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": uuid.uuid4().hex,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    reader.assign([TopicPartition(topic, partition, 0)])
    values = []
    while (message := reader.poll(10)) is not None and message.error() is None:
        values.append(message.value() or b"")
    reader.close()
    return values


@pytest.fixture
def name() -> str:
    return f"tx-{uuid.uuid4().hex[:8]}"


def opened(kafka: str, name: str) -> TransactionalProducer:
    producer = TransactionalProducer({"bootstrap.servers": kafka}, name)
    producer.open(30)
    return producer


def test_only_what_is_committed_is_visible(kafka: str, topic: Callable[..., str], name: str) -> None:
    where = topic(1)
    producer = opened(kafka, name)
    producer.begin()
    producer.produce(where, [(b"a", b"aborted")], 0)
    producer.abort()
    producer.begin()
    producer.produce(where, [(b"a", b"1"), (b"b", b"2")], 0)
    producer.commit()
    producer.begin()
    producer.produce(where, [(b"c", b"left open")], 0)
    producer.close()
    assert committed(kafka, where) == [b"1", b"2"]


def test_second_producer_of_an_id_fences_the_first(kafka: str, topic: Callable[..., str], name: str) -> None:
    where = topic(1)
    first = opened(kafka, name)
    first.begin()
    first.produce(where, [(b"a", b"late")], 0)
    second = opened(kafka, name)
    with pytest.raises(Fenced):
        first.commit()
    second.begin()
    second.produce(where, [(b"a", b"good")], 0)
    second.commit()
    first.close()
    second.close()
    assert committed(kafka, where) == [b"good"]


def test_record_that_is_not_delivered_fails_the_commit(kafka: str, topic: Callable[..., str], name: str) -> None:
    where, small = topic(1), topic(1, config={"max.message.bytes": "2000"})
    producer = opened(kafka, name)
    producer.begin()
    producer.produce(where, [(b"a", b"must not be seen")], 0)
    producer.produce(small, [(b"a", os.urandom(8_000))], 0)
    with pytest.raises((Aborted, Stalled)):
        producer.commit()
    producer.close()
    assert committed(kafka, where) == []


def test_unknown_topic_is_the_clusters_fault(kafka: str, name: str) -> None:
    producer = TransactionalProducer({"bootstrap.servers": kafka}, name, {"topic.metadata.propagation.max.ms": 500})
    producer.open()
    producer.begin()
    with pytest.raises((ClusterError, Aborted)):  # noqa: PT012  either may be the one that notices
        producer.produce(f"{name}-none", [(b"a", b"1")], 7)
        producer.commit(20)
    producer.close()


def test_cluster_that_does_not_answer_stalls(name: str) -> None:
    producer = TransactionalProducer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, name)
    with pytest.raises(Stalled, match="taking over"):
        producer.open(1)


def test_restore_takes_the_newest_committed_value_of_each_key(kafka: str, topic: Callable[..., str], name: str) -> None:
    where = topic(2, config={"cleanup.policy": "compact"})
    producer = opened(kafka, name)
    for values in ([(b"a", b"1"), (b"b", b"1")], [(b"a", b"2"), (b"b", None), (b"c", b"3")]):
        producer.begin()
        producer.produce(where, values, 1)
        producer.commit()
    producer.begin()
    producer.produce(where, [(b"c", b"aborted")], 1)
    producer.abort()
    producer.close()
    state: dict[bytes, bytes] = {}
    seen: list[tuple[int, int]] = []
    assert restore({"bootstrap.servers": kafka}, where, 1, state, progress=lambda *at: seen.append(at)) == 5
    assert state == {b"a": b"2", b"c": b"3"}
    assert seen[-1][0] == seen[-1][1] > 5  # markers take offsets


def test_restore_of_an_empty_partition_ends(kafka: str, topic: Callable[..., str]) -> None:
    state: dict[bytes, bytes] = {}
    assert restore({"bootstrap.servers": kafka}, topic(1), 0, state) == 0


def test_restore_of_nothing_is_the_clusters_fault(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcdp.transport.bounds.SPREAD", 0.2)
    with pytest.raises(ClusterError, match="cannot be read"):
        restore({"bootstrap.servers": kafka}, "there-is-none", 0, {})
