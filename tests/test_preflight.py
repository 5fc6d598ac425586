"""Preflight on a real Kafka: what it creates, what it refuses and with which sentence."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from servers import LIMITED_PASSWORD, LIMITED_USER

from rtcdp.control.versions import DefinitionsTopic
from rtcdp.errors import ClusterError
from rtcdp.servers import preflight as module
from rtcdp.servers.cluster import source_ends
from rtcdp.servers.embedded_kafka import EmbeddedKafka
from rtcdp.servers.preflight import preflight, wanted_topics
from rtcdp.settings.config import Settings
from rtcdp.worker.layout import check_layout
from tests.worker.conftest import wait_for

NAMES = ("commands", "events_dlq", "profile_events", "profile_changes", "triggers", "ingest_progress", "audit")
New = Callable[..., Settings]


def settings_on(bootstrap: str, **flags: Any) -> Settings:
    """Settings with topics that nobody else uses."""
    app = f"p{uuid.uuid4().hex[:8]}"
    names = {name: f"{app}-{name}" for name in NAMES}
    values: dict[str, Any] = {"definitions_topic": f"{app}-definitions", "sources": f"{app}-events", "partitions": 3}
    return Settings(**{"bootstrap": bootstrap, "app": app, **values, **names, **flags})


@pytest.fixture
def new(kafka: str) -> Iterator[New]:
    """`new(**flags)`: settings on the real Kafka; their topics are deleted at the end."""
    made: list[Settings] = []

    def make(**flags: Any) -> Settings:
        made.append(settings_on(kafka, **flags))
        return made[-1]

    yield make
    admin = AdminClient({"bootstrap.servers": kafka})
    for settings in made:
        admin.delete_topics(list(wanted_topics(settings)))


def create(settings: Settings, name: str, partitions: int = 3, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    options = {option.replace("_", "."): value for option, value in config.items()}
    admin.create_topics([NewTopic(name, partitions, 1, config=options)])[name].result(30)


def options_of(settings: Settings, name: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    return {key: entry.value for key, entry in admin.describe_configs([resource])[resource].result(30).items()}


def refusal(settings: Settings) -> str:
    with pytest.raises(ClusterError) as caught:
        preflight(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_creates_what_is_missing_and_passes_again(new: New) -> None:
    settings = new()
    cluster = preflight(settings)
    assert cluster.partitions[settings.profile_events] == cluster.partitions[settings.changelog] == 3
    assert cluster.partitions[settings.definitions_topic] == 1
    assert options_of(settings, settings.changelog)["cleanup.policy"] == "compact"
    assert options_of(settings, settings.profile_events)["retention.ms"] == "-1"
    assert options_of(settings, settings.sources[0].topic)["message.timestamp.type"] == "LogAppendTime"
    assert len({*cluster.topic_ids.values()}) == len(cluster.topic_ids)
    assert not any("/" in topic_id for topic_id in cluster.topic_ids.values())
    assert preflight(settings) == cluster
    ends = source_ends(settings.kafka(), [settings.sources[0].topic])
    assert ends == dict.fromkeys(cluster.sources(settings.sources[0].topic), 0)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 1.5)
    sentence = refusal(Settings(bootstrap="127.0.0.1:1"))
    assert "127.0.0.1:1" in sentence
    assert "refused" in sentence


class Slow(AdminClient):
    """Of a cluster that takes two seconds for an answer."""

    def list_topics(self, *args: Any, timeout: float, **options: Any) -> Any:
        if timeout < 2.0:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return super().list_topics(*args, timeout=timeout, **options)


def test_a_slow_answer_is_one_too(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AdminClient", Slow)
    preflight(new())


def test_creating_is_off(new: New) -> None:
    settings = new(create_topics=False)
    assert "create_topics is off" in (sentence := refusal(settings))
    assert settings.profile_events in sentence


@pytest.mark.parametrize(
    ("topic", "partitions", "config", "words"),
    [
        ("changelog", 4, {"cleanup_policy": "compact"}, ["3 partitions", "4", "must be equal"]),
        ("definitions_topic", 2, {"cleanup_policy": "compact"}, ["must have 1 partition, it has 2"]),
        ("changelog", 3, {"cleanup_policy": "compact,delete"}, ["cleanup.policy=compact", "compact,delete"]),
        ("profile_events", 3, {"cleanup_policy": "compact"}, ["cleanup.policy=delete", "it has compact", "rebuilt"]),
        ("ingest_progress", 3, {"cleanup_policy": "delete"}, ["cleanup.policy=compact"]),
        ("commands", 3, {}, ["message.timestamp.type=LogAppendTime", "CreateTime"]),
        ("profile_events", 3, {"max_message_bytes": "100000"}, ["max.message.bytes", "1048588", "100000"]),
        ("triggers", 3, {"min_insync_replicas": "2"}, ["1 replicas", "min.insync.replicas=2"]),
    ],
)
def test_a_topic_that_is_wrong(new: New, topic: str, partitions: int, config: dict[str, str], words: list[str]) -> None:
    settings = new()
    name = getattr(settings, topic)
    create(settings, name, partitions, **config)
    sentence = refusal(settings)
    for word in (name, *words):
        assert word in sentence


def test_create_time_is_enough_for_a_source_in_event_mode(new: New) -> None:
    settings = new()
    create(settings, settings.sources[0].topic)
    assert f"{settings.sources[0].topic}:event" in refusal(settings)
    source = settings.sources[0].model_copy(update={"time": "event"})
    preflight(settings.model_copy(update={"sources": (source,)}))


def test_replicas(new: New) -> None:
    assert "3 replicas on 1 brokers" in refusal(new(replication=3))


def test_the_partition_count_and_the_topic_are_recorded(new: New) -> None:
    settings = new()
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, "test")
    check_layout(topic, settings, preflight(settings))
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    both = (settings.profile_events, settings.changelog)
    for name in both:
        admin.create_partitions([NewPartitions(name, 5)])[name].result(30)
    wait_for(lambda: all(len(admin.list_topics(timeout=5).topics[name].partitions) == 5 for name in both))
    cluster = preflight(settings)
    again = DefinitionsTopic(settings.kafka(), settings.definitions_topic, "test")
    again.read()
    with pytest.raises(ClusterError, match="had 3 partitions and has 5 now"):
        check_layout(again, settings, cluster)
    other = settings.model_copy(update={"app": settings.app + "-2"})
    check_layout(again, other, cluster)


def test_the_embedded_broker_passes_and_says_what_was_not_checked(embedded: EmbeddedKafka) -> None:
    cluster = preflight(settings_on(embedded.bootstrap))
    assert cluster.embedded
    assert all(name == topic_id for name, topic_id in cluster.topic_ids.items())
    assert any("topic ids" in sentence for sentence in cluster.unchecked)
    different = settings_on(embedded.bootstrap)
    embedded.create_topic(different.profile_events, 2)
    embedded.create_topic(different.changelog, 3)
    assert "must be equal" in refusal(different)


def limited(address: str, folder: Path, password: str = LIMITED_PASSWORD) -> dict[str, Any]:
    file = folder / "password"
    file.write_text(password + "\n", "utf-8")
    return {
        "bootstrap": address,
        "security_protocol": "SASL_PLAINTEXT",
        "allow_sasl_without_tls": True,
        "sasl_mechanism": "PLAIN",
        "sasl_username": LIMITED_USER,
        "sasl_password_file": file,
    }


def test_permissions_are_named_one_after_the_other(new: New, limited_kafka: str, tmp_path: Path) -> None:
    settings = new()
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 0})
    as_limited = settings.model_copy(update=limited(limited_kafka, tmp_path))

    def grant(kind: ResourceType, name: str, *operations: AclOperation) -> None:
        for operation in operations:
            binding = AclBinding(
                kind, name, ResourcePatternType.PREFIXED, f"User:{LIMITED_USER}", "*", operation, AclPermissionType.ALLOW
            )
            for future in admin.create_acls([binding]).values():
                future.result(30)

    def told(words: str) -> None:
        """What is granted holds a moment later."""
        wait_for(lambda: words in refusal(as_limited), what=words)

    app = settings.app
    sentence = refusal(as_limited)
    assert "grant the ACL Create on Topic" in sentence
    preflight(settings)
    # Without Describe a topic cannot be told from one that does not exist.
    told("grant the ACL Create on Topic")
    grant(ResourceType.TOPIC, app, AclOperation.DESCRIBE)
    told(f"on TransactionalId {app}-*")
    grant(ResourceType.TRANSACTIONAL_ID, app, AclOperation.DESCRIBE, AclOperation.WRITE)
    told(f"grant the ACL Read on Topic {app}-")
    grant(ResourceType.TOPIC, app, AclOperation.READ)
    told(f"grant the ACL Write on Topic {app}-")
    grant(ResourceType.TOPIC, app, AclOperation.WRITE)
    told("grant the ACL Read on Group")
    grant(ResourceType.GROUP, app, AclOperation.READ)
    told(f"grant the ACL DescribeConfigs on Topic {app}-")
    grant(ResourceType.TOPIC, app, AclOperation.DESCRIBE_CONFIGS)

    def well() -> bool:
        try:
            preflight(as_limited)
        except ClusterError:
            return False
        return True

    wait_for(well, what="all that it needs")


def test_wrong_credentials(limited_kafka: str, tmp_path: Path) -> None:
    settings = settings_on(limited_kafka).model_copy(update=limited(limited_kafka, tmp_path, "wrong"))
    assert f"does not accept the credentials of {LIMITED_USER!r}" in refusal(settings)
