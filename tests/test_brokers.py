"""Brokers: each kind serves, says what is missing in one sentence, and never outlives its process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from rtcdp.errors import ClusterError
from rtcdp.servers import broker, brokers, docker_kafka, embedded_kafka, kafka_jars, local_kafka
from rtcdp.servers.local_process import free_port


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    """Produce and see every delivery confirmed."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failures == []


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first records of partition 0."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "t", "enable.auto.commit": False, "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, 20)]
    finally:
        consumer.close()


def test_embedded_has_exact_partition_counts_and_carries_records(embedded: embedded_kafka.EmbeddedKafka) -> None:
    embedded.create_topic("seven", 7)
    embedded.create_topic("one", 1)
    topics = AdminClient({"bootstrap.servers": embedded.bootstrap}).list_topics(timeout=5).topics
    assert {name: len(topic.partitions) for name, topic in topics.items()} == {"seven": 7, "one": 1}
    produce(embedded.bootstrap, "one", [b"a", b"b"])
    assert consume(embedded.bootstrap, "one", 2) == [b"a", b"b"]


def test_embedded_broker_goes_down_and_comes_back(embedded: embedded_kafka.EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": embedded.bootstrap, "log_level": 0})
    embedded.broker_down()
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.3)
    embedded.broker_up()
    assert admin.list_topics(timeout=10).brokers


def test_embedded_prints_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    with embedded_kafka.EmbeddedKafka():
        assert "no compaction" in capsys.readouterr().err


def test_embedded_refuses_orders_before_it_started() -> None:
    with pytest.raises(ClusterError, match="not been started"):
        embedded_kafka.EmbeddedKafka().create_topic("t", 1)


def test_embedded_refuses_a_topic_that_exists(embedded: embedded_kafka.EmbeddedKafka) -> None:
    embedded.create_topic("t", 1)
    with pytest.raises(ClusterError, match="topic_create"):
        embedded.create_topic("t", 2)


def test_real_kafka_commits_transactions_and_fences(kafka: str, topic: Callable[..., str]) -> None:
    """What tells a real broker from the mock, and what the design stands on."""
    name = topic(1)
    settings = {"bootstrap.servers": kafka, "transactional.id": f"owner-{name}", "log_level": 0}
    first, second = Producer(settings), Producer(settings)
    first.init_transactions(20)
    first.begin_transaction()
    first.produce(name, b"of the old owner")
    first.flush(20)
    second.init_transactions(20)
    second.begin_transaction()
    second.produce(name, b"of the new owner")
    second.commit_transaction(20)
    with pytest.raises(KafkaException, match=r"(?i)fenced"):
        first.commit_transaction(20)
    assert consume(kafka, name, 1) == [b"of the new owner"]


def test_a_cluster_id_is_never_read_as_an_option() -> None:
    assert local_kafka.cluster_id(b"\xf8" + bytes(15)) == "A" + "A" * 21
    assert local_kafka.cluster_id(b"\x04" + bytes(15)) == "B" + "A" * 21


def test_given_kafka_that_does_not_answer_is_one_sentence() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ClusterError, match=f"No Kafka answers at {re.escape(address)}"):
        broker.await_broker(address, 0.2)


@pytest.mark.faults
def test_local_kafka_keeps_its_records_and_address_over_a_restart(tmp_path: Path) -> None:
    with local_kafka.LocalKafka(tmp_path / "kafka") as broker:
        address, pid = broker.bootstrap, broker.pid
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
        produce(address, "kept", [b"1", b"2", b"3"])
        broker.stop()
        assert not psutil.pid_exists(pid)
        assert broker.pid == 0
        broker.start()
        assert broker.bootstrap == address
        assert consume(address, "kept", 3) == [b"1", b"2", b"3"]
    assert (tmp_path / "kafka" / "data").exists()


@pytest.mark.faults
def test_local_kafka_does_not_outlive_a_killed_process() -> None:
    program = (
        "import time; from rtcdp.servers.local_kafka import LocalKafka\n"
        "with LocalKafka(heap_mb=256, brief=True) as k: print(k.pid, k.directory, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    line = parent.stdout.readline().split()
    broker, directory = psutil.Process(int(line[0])), Path(line[1])
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    psutil.wait_procs([broker], timeout=20)
    deadline = time.monotonic() + 20
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not broker.is_running()
    assert not directory.exists()


def test_missing_java_and_docker_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ClusterError, match=r"^No Kafka can be started here: Java is missing: .* does not answer either\.$"):
        brokers.find()


def test_old_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ClusterError, match="Java 11 is too old"):
        kafka_jars.find_java()


def test_missing_maven_is_named_only_when_the_jars_are_not_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cached = kafka_jars.kafka_libs()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kafka_jars.kafka_libs() == cached
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ClusterError, match="Maven is missing"):
        kafka_jars.kafka_libs()


def test_given_address_wins() -> None:
    assert brokers.find("broker:9092").bootstrap == "broker:9092"


def test_one_kafka_version_everywhere() -> None:
    compose = (Path(__file__).parents[1] / "docker-compose.yml").read_text()
    assert f"image: apache/kafka:{kafka_jars.kafka_version()}" in compose


def test_docker_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")
    assert not docker_kafka.docker_answers()
    with pytest.raises(ClusterError, match="Docker did not start a Kafka"):
        docker_kafka.DockerKafka().start()
