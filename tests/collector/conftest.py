"""A collector as a process of its own, in front of topics of the test's own."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from rtcdp.servers.local_process import free_port
from rtcdp.serving.collector.write_keys import KeyFile

Started = Callable[..., "Collecting"]


def wait_for(condition: Callable[[], Any], seconds: float = 30.0, what: str = "the condition") -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not hold within {seconds} s"
        time.sleep(0.02)
    return value


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Collecting:
    """A running collector. key: the text of a write key of the source `web`."""

    bootstrap: str
    topic: str
    dead_letters: str
    keys: KeyFile
    key: str
    port: int
    metrics_port: int
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
        timeout: float = 20,
    ) -> Answer:
        """One request on a connection of its own. key: "" for the collector's own, None for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {**self.basic(key), **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, call: str, body: Any, **options: Any) -> Answer:
        """POST /v1/<call> with JSON."""
        text = body if isinstance(body, bytes | str) else json.dumps(body)
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.ask("POST", f"/v1/{call}", text, headers=headers, **options)

    def basic(self, key: str | None = "") -> dict[str, str]:
        """The header that says a write key."""
        if key is None:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(f"{key or self.key}:".encode()).decode()}

    def metrics(self, path: str = "/metrics") -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def events(self) -> list[dict[str, Any]]:
        """Everything in the topic of raw events until now."""
        return [json.loads(value) for value in read_all(self.bootstrap, self.topic)]

    def event(self, message_id: str) -> dict[str, Any]:
        """The one event with this message id."""
        (found,) = [event for event in self.events() if event["messageId"] == message_id]
        return found

    def letters(self) -> list[dict[str, Any]]:
        """Every dead letter until now; `original` decoded."""
        letters = [json.loads(value) for value in read_all(self.bootstrap, self.dead_letters)]
        return [{**letter, "original": base64.b64decode(letter["original"])} for letter in letters]

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def read_all(bootstrap: str, topic: str) -> list[bytes]:
    """The values of all records of a topic, up to its ends at this moment, partition by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
    )
    found: dict[int, list[bytes]] = {}
    try:
        unread = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in unread])
        while unread:
            message = consumer.poll(20)
            assert message is not None, f"{topic}: no answer"
            partition = message.partition() or 0
            if message.error() is None:
                found.setdefault(partition, []).append(message.value() or b"")
            elif message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(partition)
            else:
                raise AssertionError(message.error().str())
    finally:
        consumer.close()
    return [value for partition in sorted(found) for value in found[partition]]


@contextmanager
def collecting(
    bootstrap: str,
    topic: str,
    dead_letters: str,
    folder: Path,
    settings: dict[str, Any] | None = None,
    program: Sequence[str] = ("-m", "rtcdp.cli"),
) -> Iterator[Collecting]:
    """Run a collector; ready when entered, gone when left. program: what Python runs as `rtcdp`."""
    keys = KeyFile(folder / "keys.json")
    _, key = keys.add("web", topic)
    port = free_port()
    # TOML's texts and numbers are JSON's.
    config = folder / "collector.toml"
    values = {
        "bootstrap": bootstrap,
        "events_dlq": dead_letters,
        "sources": topic,
        "collector_port": 0,
        "collector_keys": str(keys.path),
        "collector_rate": 0,
        "metrics_port": port,
        "create_topics": False,
        **(settings or {}),
    }
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    log = folder / "collector.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RTCDP_")}
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, *program, "collector", "--config", str(config)], stdout=written, stderr=written, env=environment
        )

    def listening() -> int:
        assert process.poll() is None, log.read_text()
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())
        return int(found[1]) if found else 0

    try:
        own = wait_for(listening, 40, "listening")
        yield Collecting(bootstrap, topic, dead_letters, keys, key, own, port, log, process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def collector(kafka: str, new_topic: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    """One collector for all tests, with tight limits; it lets pages of shop.example send."""
    settings = {
        "collector_origins": "https://shop.example,https://*.brand.example",
        "collector_body_bytes": 65_536,
        "collector_unpacked_bytes": 1_000_000,
        "collector_batch_events": 100,
        "collector_patience_s": 1,
    }
    folder = tmp_path_factory.mktemp("collector")
    with collecting(kafka, new_topic("events"), new_topic("dlq"), folder, settings) as running:
        yield running


@pytest.fixture(scope="session")
def new_topic(kafka: str) -> Iterator[Callable[[str], str]]:
    """`new_topic(name)` creates a topic that stays to the end of the run."""
    from uuid import uuid4

    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka})
    made: list[str] = []

    def create(name: str) -> str:
        unique = f"{name}-{uuid4().hex[:8]}"
        config = {} if name == "dlq" else {"message.timestamp.type": "LogAppendTime"}
        admin.create_topics([NewTopic(unique, 2, 1, config=config)])[unique].result(30)
        made.append(unique)
        return unique

    yield create
    admin.delete_topics(made)
