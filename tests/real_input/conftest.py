"""A worker on a real Kafka, and what the replay of the real clickstream gives: each made once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from real_input import ecom
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load
from rtcdp.servers.local_process import free_port
from rtcdp.settings.config import Settings
from rtcdp.simulate.oracle import Output
from rtcdp.simulate.sources import csv_events, open_bytes
from rtcdp.simulate.traffic import read_topic

DEFINITIONS = Path(__file__).parents[2] / "examples" / "ecom"
ROLES = {"profile_changes": "profile-changes", "triggers": "triggers", "events_dlq": "events-dlq"}


@pytest.fixture(scope="session")
def rows() -> list[dict[str, str]]:
    return ecom.rows()


@pytest.fixture(scope="session")
def until(rows: list[dict[str, str]]) -> int:
    """Two months after the last event: whatever time can do has been done."""
    return max(ecom.milliseconds(row["timestamp"]) for row in rows) + 60 * ecom.DAY


@pytest.fixture(scope="session")
def definitions() -> Definitions:
    return load(DEFINITIONS)


@pytest.fixture(scope="session")
def events() -> list[bytes]:
    with open_bytes(str(ecom.path())) as stream:
        return list(csv_events(stream, ecom.MAPPING))


@pytest.fixture(scope="session")
def replayed(until: int) -> list[Output]:
    """What the command `rtcdp replay` prints for the whole file."""
    options = ["--definitions", str(DEFINITIONS), "--map", ecom.MAPPING, "--until", str(until), "--topics"]
    command = [sys.executable, "-m", "rtcdp.cli", "replay", str(ecom.path()), *options]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    return [Output(line["topic"], line["key"].encode(), orjson.dumps(line["value"])) for line in lines]


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)
    return value


@dataclass
class Deployment:
    """A worker process with topics of its own."""

    settings: Settings
    log: Path
    process: subprocess.Popen[bytes]

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.settings.metrics_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def send(self, events: list[bytes], keys: list[bytes]) -> None:
        """A plain producer, with librdkafka's default partitioner: CRC32 of the key."""
        producer = Producer({"bootstrap.servers": self.settings.bootstrap, "enable.idempotence": True})
        for key, event in zip(keys, events, strict=True):
            producer.produce(self.settings.sources[0].topic, event, key)
            producer.poll(0)
            if len(producer) > 50_000:
                producer.flush()
        assert producer.flush(30) == 0

    def outputs(self) -> list[Output]:
        """Everything published so far."""
        return [
            Output(role, (record.key or "").encode(), (record.value or "").encode())
            for name, role in ROLES.items()
            for record in read_topic(self.settings.bootstrap, getattr(self.settings, name))
        ]


@pytest.fixture
def worker(kafka: str, tmp_path: Path) -> Iterator[Deployment]:
    """A worker under examples/ecom, in `event` time mode, ready for work."""
    name = f"ecom-{uuid.uuid4().hex[:8]}"
    topics = (
        "commands",
        "events_dlq",
        "profile_events",
        "profile_changes",
        "triggers",
        "ingest_progress",
        "audit",
        "definitions_topic",
    )
    settings = Settings(
        bootstrap=kafka,
        app=name,
        definitions=DEFINITIONS,
        sources=f"{name}-events:event",  # type: ignore[arg-type]  # the simple form
        metrics_port=free_port(),
        state_dir=tmp_path,
        **{topic: f"{name}-{topic}" for topic in topics},  # type: ignore[arg-type]  # names of topics
    )
    config = tmp_path / "worker.toml"
    given = {"sources": f"{name}-events:event", **{topic: getattr(settings, topic) for topic in topics}}
    given |= {"bootstrap": kafka, "app": name, "definitions": str(DEFINITIONS), "state_dir": str(tmp_path)}
    lines = [f'{setting} = "{value}"' for setting, value in given.items()]
    config.write_text("\n".join([*lines, f"metrics_port = {settings.metrics_port}", ""]))
    log = tmp_path / "worker.log"
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("RTCDP_")}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "rtcdp.cli", "worker", "--config", str(config)]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    deployment = Deployment(settings, log, process)
    try:
        wait_for(deployment.ready, 50, "a ready worker")
        yield deployment
        process.terminate()
        assert process.wait(20) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
        admin.delete_topics([settings.sources[0].topic, *settings.own_topics().values()])
