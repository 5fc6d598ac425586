"""The profile agent as a process against real Kafka: exact whatever dies when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from rtcdp import position as positions
from rtcdp.position import POSITION_KEY
from rtcdp.transport.restore import restore

TOY = Path(__file__).with_name("toy.py")
TESTS = str(TOY.parents[1])
PARTITIONS = 4
KEYS = 500


class Deployment:
    """Topics of one app on a real Kafka, its worker processes, and what a reader of committed records sees."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.app = f"app-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.sent: dict[bytes, int] = defaultdict(int)
        self.seen: dict[bytes, list[int]] = defaultdict(list)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.without = ""
        admin = AdminClient({"bootstrap.servers": bootstrap})
        names = ["log", "changes", "triggers", "dlq"]
        topics = [NewTopic(f"{self.app}-{name}", PARTITIONS, 1) for name in names]
        topics.append(NewTopic(self.changelog, PARTITIONS, 1, config={"cleanup.policy": "compact"}))
        for future in admin.create_topics(topics).values():
            future.result(30)
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "partitioner": "murmur2_random"}
        )
        self._reader = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": f"{self.app}-reader", "auto.offset.reset": "earliest"}
        )
        self._reader.assign([TopicPartition(f"{self.app}-changes", number, 0) for number in range(PARTITIONS)])

    @property
    def changelog(self) -> str:
        return f"{self.app}-profiles-changelog"

    def send(self, count: int) -> None:
        for number in range(count):
            key = b"main/user_id:%d" % (number * 7919 % KEYS)
            self._producer.produce(f"{self.app}-log", b"x" * 200, key)
            self.sent[key] += 1
            if number % 1000 == 0:
                self._producer.poll(0)
        assert self._producer.flush(20) == 0

    def start(self, instance: str = "", **env: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        worker = subprocess.Popen(
            [sys.executable, str(TOY), self.bootstrap, self.app, instance],
            env={**os.environ, "TOY_DIR": str(self.folder), "PYTHONPATH": TESTS, "WORKER_WITHOUT": self.without, **env},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self.workers.append(worker)
        return worker

    def log(self, number: int) -> str:
        return (self.folder / f"worker-{number}.log").read_text()

    def read(self, until: int, seconds: float = 40) -> int:
        """Read committed outputs until there are `until` of them; returns how many there are."""
        deadline = time.monotonic() + seconds
        count = sum(map(len, self.seen.values()))
        while count < until:
            assert time.monotonic() < deadline, f"{count} of {until} outputs; " + self.log(len(self.workers) - 1)[-3000:]
            for message in self._reader.consume(1000, 0.1):
                assert message.error() is None
                self.seen[message.key() or b""].append(int(message.value() or b""))
                count += 1
        return count

    def differences(self) -> list[str]:
        """What is wrong, once as many outputs came as there were records: each has to be folded once, in order."""
        self.read(sum(self.sent.values()))
        wrong = []
        if self._reader.consume(1, 0.5):
            wrong.append("there are more outputs than records")
        if self.seen != {key: list(range(1, count + 1)) for key, count in self.sent.items()}:
            wrong.append("the outputs are not those of every record once, in order")
        state: dict[bytes, bytes] = {}
        for number in range(PARTITIONS):
            restore({"bootstrap.servers": self.bootstrap}, self.changelog, number, state)
        assert positions.decode(state.pop(POSITION_KEY)).offset >= 0
        if {key: int(value) for key, value in state.items()} != self.sent:
            wrong.append("the state says something else than the records")
        return wrong

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait(10)
        self._reader.close()


@pytest.fixture
def deployment(kafka: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(kafka, tmp_path)
    yield made
    made.close()


@pytest.mark.faults
def kill_twice(deployment: Deployment) -> None:
    deployment.send(40_000)
    for share in (3_000, 15_000):
        worker = deployment.start("a", TOY_DWELL="0.3")
        deployment.read(share)
        worker.kill()
        worker.wait(5)
    deployment.start("a")


def hand_over(deployment: Deployment) -> None:
    deployment.send(20_000)
    first = deployment.start(TOY_WORK="20")
    deployment.read(1_000)
    deployment.start(TOY_WORK="20")
    deployment.read(10_000)
    deployment.send(20_000)
    deployment.read(22_000)
    asked = time.monotonic()
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    assert time.monotonic() - asked < 10


def sleep_through_a_takeover(deployment: Deployment) -> subprocess.Popen[bytes]:
    deployment.send(20_000)
    first = deployment.start("a", TOY_DWELL="0.3")
    deployment.read(2_000)
    first.send_signal(signal.SIGSTOP)
    deployment.start("a")  # static membership: takes the place of the first one at once
    deployment.read(20_000)
    first.send_signal(signal.SIGCONT)
    deployment.send(5_000)
    return first


@pytest.mark.faults
def test_exact_after_kills(deployment: Deployment) -> None:
    kill_twice(deployment)
    assert deployment.differences() == []


@pytest.mark.faults
def test_without_transactions_kills_show(deployment: Deployment) -> None:
    deployment.without = "transaction"
    kill_twice(deployment)
    assert deployment.differences()


@pytest.mark.faults
def test_second_worker_joins_and_the_first_is_told_to_stop(deployment: Deployment) -> None:
    hand_over(deployment)
    assert deployment.differences() == []
    assert "partition" in deployment.log(1)


@pytest.mark.faults
def test_without_the_restored_profiles_a_handover_shows(deployment: Deployment) -> None:
    deployment.without = "restoring"
    hand_over(deployment)
    assert deployment.differences()


@pytest.mark.faults
def test_paused_owner_is_fenced(deployment: Deployment) -> None:
    """A worker that sleeps through the takeover of its partitions commits nothing afterwards."""
    first = sleep_through_a_takeover(deployment)
    assert deployment.differences() == []
    assert first.wait(15) != 0


@pytest.mark.faults
def test_without_fencing_a_paused_owner_shows(deployment: Deployment) -> None:
    deployment.without = "generation"
    sleep_through_a_takeover(deployment)
    assert deployment.differences()


def work_and_stop(deployment: Deployment) -> None:
    deployment.send(1_000)
    worker = deployment.start("a")
    deployment.read(1_000)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0


def make_again(deployment: Deployment, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    admin.delete_topics([topic])[topic].result(10)
    deadline = time.monotonic() + 10
    while topic in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(10)


@pytest.mark.faults
def test_changelog_without_position_is_refused(deployment: Deployment) -> None:
    work_and_stop(deployment)
    make_again(deployment, deployment.changelog)
    assert deployment.start("a").wait(20) == 2
    assert "has no position" in deployment.log(1)


@pytest.mark.faults
def test_log_made_again_is_refused(deployment: Deployment) -> None:
    work_and_stop(deployment)
    assert deployment.start("a", TOY_TOPIC_ID="another").wait(20) == 2
    assert "deleted and made again" in deployment.log(1)
    make_again(deployment, f"{deployment.app}-log")
    assert deployment.start("a").wait(20) == 2  # the same id, as where a broker knows none
    assert "has lost records" in deployment.log(2)


@pytest.mark.faults
def test_what_nobody_touched_is_not_refused(deployment: Deployment) -> None:
    """The control of the refusals: the same, and nothing was deleted."""
    work_and_stop(deployment)
    deployment.start("a")
    deployment.send(1_000)
    assert deployment.differences() == []
