"""A deployment of a test's own: settings whose topics nobody else uses, definitions, and worker processes over them."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from forked import Forked

from rtcdp.servers.local_process import free_port
from rtcdp.settings.config import Settings
from worker.protections import switch_off

DEFINITIONS = """
features:
  orders: {count: Order Completed}
  seen_2s: {count: "*", within: 2s}
segments:
  buyers: orders >= 1
  here: seen_2s >= 1
"""


def wait_for(condition: Callable[[], Any], seconds: float = 30.0, what: str = "the condition") -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not hold within {seconds} s"
        time.sleep(0.02)


class WorkerProcess:
    """A worker as a process of its own. without: protections to switch off, see protections.py."""

    def __init__(self, settings: Settings, folder: Path, log: Path, without: str = "") -> None:
        self.port = free_port()
        self.log = log
        self.settings = settings
        self._folder = folder
        self._without = without
        self.process: Forked | None = None

    def start(self) -> WorkerProcess:
        config = self.log.with_suffix(".json")
        values = self.settings.model_dump(mode="json", exclude_none=True)
        values |= {"metrics_port": self.port, "definitions": str(self._folder)}
        config.write_text(json.dumps(values), "utf-8")
        environment = {**os.environ, "WORKER_WITHOUT": self._without}
        before = switch_off if self._without else None
        self.process = Forked("rtcdp.worker.main", config, self.log, environment, before)
        return self

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> WorkerProcess:
        def look() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            return self.get("/readyz")[0] == 200

        wait_for(look, 60.0, "readiness")
        return self

    def metric(self, line: str) -> float:
        """Value of the sample whose line begins with this."""
        for found in self.get("/metrics")[1].splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(20)


class Deployment:
    """Topics, settings and workers of one test."""

    def __init__(self, bootstrap: str, folder: Path, **flags: Any) -> None:
        self.name = f"w{uuid.uuid4().hex[:8]}"
        self.folder = folder
        names = ("commands", "events_dlq", "profile_events", "profile_changes", "triggers", "ingest_progress", "audit")
        topics = {name: f"{self.name}-{name}" for name in names}
        self.source = f"{self.name}-events"
        values = {
            "bootstrap": bootstrap,
            "app": self.name,
            "sources": self.source,
            "definitions_topic": f"{self.name}-definitions",
            "partitions": 2,
            "metrics_port": -1,
            "state_dir": folder,
            **topics,
            **flags,
        }
        self.values = values
        self.settings = Settings(**values)
        self.definitions = folder / "definitions"
        self.definitions.mkdir()
        (self.definitions / "shop.yaml").write_text(DEFINITIONS, "utf-8")
        self.workers: list[WorkerProcess] = []
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})

    def worker(self, without: str = "") -> WorkerProcess:
        worker = WorkerProcess(self.settings, self.definitions, self.folder / f"worker-{len(self.workers)}.log", without)
        self.workers.append(worker)
        return worker.start()

    def send(self, *events: Any, topic: str | None = None) -> None:
        """Raw events; what is not bytes or None is sent as JSON."""
        for event in events:
            value = event if isinstance(event, bytes) or event is None else json.dumps(event).encode()
            self.producer.produce(topic or self.source, value)
            self.producer.poll(0)
        assert self.producer.flush(20) == 0

    def read(self, topic: str) -> list[Message]:
        """Everything committed in a topic, partition by partition."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.bootstrap,
                "group.id": "reader",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            found, waiting = [], set(partitions)
            while waiting:
                first = consumer.poll(1.0)
                for message in () if first is None else (first, *consumer.consume(1000, 0)):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        waiting.discard(message.partition())
            return sorted(found, key=lambda message: (message.partition(), message.offset()))
        finally:
            consumer.close()

    def records(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(message.value() or b"null") for message in self.read(topic)]

    def close(self) -> None:
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(10)
        admin = AdminClient({"bootstrap.servers": self.settings.bootstrap, "log_level": 0})
        admin.delete_topics([self.source, *self.settings.own_topics().values()])


Deploy = Callable[..., Deployment]


def deployments(bootstrap: str, folder: Path) -> Iterator[Deploy]:
    """A function that makes deployments; their processes and topics go at the end."""
    made: list[Deployment] = []

    def make(**flags: Any) -> Deployment:
        place = folder / str(len(made))
        place.mkdir()
        made.append(Deployment(flags.pop("bootstrap", bootstrap), place, **flags))
        return made[-1]

    for name in os.environ:
        if name.startswith("RTCDP_") and not name.startswith("RTCDP_TEST_"):
            pytest.fail(f"{name} is set: it would change what the tests start")
    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture
def deploy(kafka: str, tmp_path: Path) -> Iterator[Deploy]:
    """`deploy(**flags)` makes a deployment on the real Kafka."""
    yield from deployments(kafka, tmp_path)


@pytest.fixture(scope="module")
def deploy_once(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """As `deploy`, for what all tests of a file share."""
    yield from deployments(kafka, tmp_path_factory.mktemp("shared"))
