from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException

from rtcdp.errors import ClusterError
from rtcdp.servers.embedded_kafka import EmbeddedKafka
from rtcdp.transport.gapless import CHUNK, GaplessProducer


def test_sources_are_acknowledged_apart_and_without_holes(kafka: str, topic: Callable[..., str]) -> None:
    where = topic(4)
    producer = GaplessProducer({"bootstrap.servers": kafka})
    assert producer.acknowledged() == {}
    for offset in range(3 * CHUNK):
        producer.produce(where, b"k%d" % offset, b"v", source="a/0", offset=offset)
    producer.skip("a/1", 41)
    producer.produce(where, b"k", b"v", source="a/1", offset=42, partition=2, headers=[("h", b"1")])
    producer.skip("a/1", 43)
    assert producer.in_flight == 3 * CHUNK + 1
    assert "a/0" not in producer.acknowledged()
    assert producer.flush(20) == 0
    assert producer.in_flight == 0
    assert producer.acknowledged() == {"a/0": 3 * CHUNK - 1, "a/1": 43}
    producer.skip("a/1", 44)
    assert producer.acknowledged()["a/1"] == 44
    producer.forget("a/1")
    assert producer.acknowledged() == {"a/0": 3 * CHUNK - 1}


def test_many_records_at_once_are_as_many_single_ones(kafka: str, topic: Callable[..., str]) -> None:
    where = topic(4)
    producer = GaplessProducer({"bootstrap.servers": kafka})
    records = [(b"k%d" % offset, b"v", offset) for offset in range(3 * CHUNK)]
    assert producer.produce_all(where, records, source="a/0") == len(records)
    assert producer.produce_all(where, [], source="a/1") == 0
    producer.skip("a/0", 3 * CHUNK)
    assert producer.in_flight == 3 * CHUNK
    producer.forget("a/0")
    assert producer.in_flight == 3 * CHUNK  # whose it was does not matter: it is on its way
    assert producer.produce_all(where, records[:2], source="a/0") == 2
    assert producer.flush(20) == 0
    assert producer.in_flight == 0
    assert producer.acknowledged() == {"a/0": 1}


def test_a_full_queue_takes_what_fits(embedded: EmbeddedKafka) -> None:
    embedded.create_topic("full", 1)
    producer = GaplessProducer({"bootstrap.servers": embedded.bootstrap}, {"queue.buffering.max.messages": 10})
    records = [(b"k", b"v", offset) for offset in range(25)]
    assert producer.produce_all("full", records, source="a/0") == 10
    assert producer.in_flight == 10
    with pytest.raises(BufferError):
        producer.produce("full", b"k", b"v", source="a/0", offset=10)
    assert producer.flush(20) == 0
    assert producer.acknowledged() == {"a/0": 9}
    assert producer.produce_all("full", records[10:], source="a/0") == 10
    assert producer.flush(20) == 0
    assert producer.acknowledged() == {"a/0": 19}


def test_nothing_is_acknowledged_while_the_broker_is_down_and_all_of_it_after(embedded: EmbeddedKafka) -> None:
    embedded.create_topic("out", 2)
    producer = GaplessProducer({"bootstrap.servers": embedded.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    producer.produce("out", b"k", b"v", source="a/0", offset=0)
    assert producer.flush(10) == 0
    assert producer.acknowledged() == {"a/0": 0}
    embedded.broker_down()
    for offset in range(1, 10):
        producer.produce("out", b"k", b"v", source="a/0", offset=offset)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        producer.poll(0.05)
    assert producer.acknowledged() == {"a/0": 0}
    assert producer.in_flight == 9
    embedded.broker_up()
    assert producer.flush(20) == 0
    assert producer.acknowledged() == {"a/0": 9}


def test_record_refused_at_once_leaves_no_trace(kafka: str, topic: Callable[..., str]) -> None:
    where = topic(1)
    producer = GaplessProducer({"bootstrap.servers": kafka}, {"message.max.bytes": 1000})
    with pytest.raises(KafkaException):
        producer.produce(where, b"k", b"v" * 2000, source="a/0", offset=0)
    assert producer.acknowledged() == {}
    assert producer.in_flight == 0


def test_partition_that_does_not_exist_ends_it(kafka: str, topic: Callable[..., str]) -> None:
    where = topic(1)
    producer = GaplessProducer({"bootstrap.servers": kafka}, {"log_level": 0})
    with pytest.raises((ClusterError, KafkaException)):  # noqa: PT012  either may be the one that notices
        producer.produce(where, b"k", b"v", source="a/0", offset=0, partition=9)
        producer.flush(20)
    assert producer.acknowledged() == {}
