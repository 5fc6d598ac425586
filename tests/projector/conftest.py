"""A deployment whose log is written by the test itself, as a worker would: transactions of profiles and a position."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from rtcdp import outputs
from rtcdp import position as positions
from rtcdp.control.versions import DefinitionsTopic, apply
from rtcdp.monitoring.health import Health
from rtcdp.position import POSITION_KEY, Position, SwitchPoint
from rtcdp.projector.main import sink_of, versions_of
from rtcdp.projector.measures import Measures
from rtcdp.projector.projection import Projection
from rtcdp.queries.inspection import partition_of
from rtcdp.rules.loading.folder import load
from rtcdp.servers.redis_server import RedisServer
from rtcdp.settings.config import Settings
from rtcdp.simulate.replay import Replay
from tests.worker.conftest import wait_for

PARTITIONS = 2
DEFINITIONS = """
features:
  orders: {count: Order Completed}
segments:
  buyers: orders >= 1
  loyal: orders >= 3
tags:
  level: {value: "'gold' if orders >= 2 else 'new'", when: orders >= 1}
triggers:
  thanks: {on: Order Completed, payload: {orders: orders}, channel: email, cap: {times: 2, per: 1d}}
"""


class Log:
    """A deployment's topics, and the engine that fills them."""

    def __init__(self, bootstrap: str, redis_url: str, folder: Path, definitions: str = DEFINITIONS) -> None:
        app = f"p{uuid.uuid4().hex[:8]}"
        names = (
            "commands",
            "events_dlq",
            "profile_events",
            "profile_changes",
            "triggers",
            "ingest_progress",
            "audit",
            "deliveries_dlq",
            "delivery_commands",
        )
        self.settings = Settings(
            **{
                "bootstrap": bootstrap,
                "app": app,
                "redis": redis_url,
                "sources": f"{app}-events",
                "definitions_topic": f"{app}-definitions",
                "metrics_port": -1,
                "stall_s": 5,
                **{name: f"{app}-{name}" for name in names},
            }
        )
        (folder / "d.yaml").write_text(definitions, "utf-8")
        self.definitions = load(folder)
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self.made = [self.settings.changelog, self.settings.profile_changes, self.settings.triggers]
        topics = [NewTopic(name, PARTITIONS, 1) for name in self.made] + [NewTopic(self.settings.definitions_topic, 1, 1)]
        for future in self.admin.create_topics(topics).values():
            future.result(30)
        topic = DefinitionsTopic(self.settings.kafka(), self.settings.definitions_topic, app)
        wait_for(lambda: topic.read() is not None)
        apply(topic, self.definitions)
        self.producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": app, "log_level": 0})
        self.producer.init_transactions(30)
        self.replay = Replay(self.definitions)
        self._known: dict[bytes, bytes] = {}
        self._sent = 0

    def orders(self, *users: str) -> None:
        """One order of each of these, folded and committed."""
        self.send(*({"type": "track", "event": "Order Completed", "userId": user} for user in users))

    def traits(self, *users: str, **traits: Any) -> None:
        """The same traits for each of these."""
        self.send(*({"type": "identify", "userId": user, "traits": traits} for user in users))

    def send(self, *events: dict[str, Any]) -> None:
        """Fold events and commit what follows from them."""
        found: list[Any] = []
        for event in events:
            self._sent += 1
            raw = {"timestamp": "2025-05-01T10:00:00Z", "messageId": f"m{self._sent}", **event}
            found += self.replay.feed(outputs.encode(raw))
        self.commit(found)

    def commit(self, found: list[Any], *, gone: tuple[str, ...] = (), abort: bool = False) -> None:
        """One transaction per call: outputs, profiles that changed, positions."""
        producer, settings = self.producer, self.settings
        state = self.replay.state
        producer.begin_transaction()
        for output in found:
            if output.topic not in {"profile-changes", "triggers"}:
                continue
            topic = settings.profile_changes if output.topic == "profile-changes" else settings.triggers
            producer.produce(topic, output.value, output.key, partition_of(output.key, PARTITIONS))
        for key, value in state.items():
            if self._known.get(key) != value:
                producer.produce(settings.changelog, value, key, partition_of(key, PARTITIONS))
        for key in gone:
            producer.produce(settings.changelog, None, key.encode(), partition_of(key.encode(), PARTITIONS))
        position = positions.encode(Position(switches=[SwitchPoint(0, self.definitions.version, 0)]))
        for partition in range(PARTITIONS):
            producer.produce(settings.changelog, position, POSITION_KEY, partition)
        if abort:
            producer.flush(30)
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
            self._known = dict(state)

    def raw(self, topic: str, key: bytes, value: bytes) -> None:
        """One record, as it is."""
        self.producer.begin_transaction()
        self.producer.produce(topic, value, key)
        self.producer.commit_transaction(30)

    def more_topics(self, *roles: str) -> list[NewTopic]:
        """Topics that a worker has and a projection does not need."""
        names = [getattr(self.settings, role) for role in roles] + [source.topic for source in self.settings.sources]
        self.made += names
        return [NewTopic(name, PARTITIONS, 1) for name in names]

    def close(self) -> None:
        self.admin.delete_topics([*self.made, self.settings.definitions_topic])


class Running:
    """A projection in a thread."""

    def __init__(self, settings: Settings, **changes: Any) -> None:
        self.settings = settings.model_copy(update=changes)
        self.health = Health(30)
        self.measures = Measures()
        self.failed: Exception | None = None
        self.projection = Projection(
            self.settings, sink_of(self.settings), versions_of(self.settings), health=self.health, measures=self.measures
        )
        self.client = redis.Redis.from_url(self.settings.redis, decode_responses=True)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.projection.run()
        except Exception as error:  # noqa: BLE001 - the test says what it was
            self.failed = error

    def ready(self) -> Running:
        wait_for(lambda: not self.health.unready() or self.failed, what="a complete projection")
        assert self.failed is None, self.failed
        return self

    def stop(self) -> None:
        self.projection.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.client.close()


def digest(url: str, app: str) -> tuple[str, int]:
    """Hash of everything a filling holds but what says who filled it and when, and how many keys that is."""
    digest, count = hashlib.sha256(), 0
    with redis.Redis.from_url(url) as client:
        for name in sorted(client.scan_iter(match=f"{app}:*", count=1_000)):
            if name.rpartition(b":")[2] in {b"epoch", b"owner", b"complete", b"progress", b"positions"}:
                continue
            kind = client.type(name)
            value: Any = (
                client.get(name)
                if kind == b"string"
                else client.zrange(name, 0, -1, withscores=True)
                if kind == b"zset"
                else sorted(client.smembers(name))
                if kind == b"set"
                else sorted(client.hgetall(name).items())
            )
            digest.update(repr((name, value)).encode())
            count += 1
    return digest.hexdigest(), count


Project = Callable[..., Running]


@pytest.fixture
def log(kafka: str, redis_url: str, tmp_path: Path) -> Iterator[Log]:
    """A log of the test's own on the shared servers."""
    made = Log(kafka, redis_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def project() -> Iterator[Project]:
    """`project(settings, **changes)` starts a projection; all are stopped at the end."""
    started: list[Running] = []

    def start(settings: Settings, **changes: Any) -> Running:
        started.append(Running(settings, **changes))
        return started[-1]

    yield start
    for running in started:
        running.stop()
