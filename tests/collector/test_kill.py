"""Killed under load: what was answered with 200 is in Kafka. The control answers without waiting, and loses events."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtcdp.servers.local_kafka import LocalKafka
from tests.collector.conftest import Collecting, collecting, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

CARELESS = (str(Path(__file__).with_name("careless.py")),)
SENDERS = 6


class Load:
    """Senders that send one event after the other. acknowledged: ids of those that were answered with 200."""

    def __init__(self, collector: Collecting) -> None:
        self.acknowledged: set[str] = set()
        self.refused = 0
        self._collector = collector
        self._ids = itertools.count()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]

    def _send(self) -> None:
        headers = self._collector.basic()
        connection = http.client.HTTPConnection("127.0.0.1", self._collector.port, timeout=20)
        while not self._stopped.is_set():
            batch = [f"m{next(self._ids)}" for _ in range(3)]
            body = {"batch": [{"type": "track", "event": "A", "userId": one, "messageId": one} for one in batch]}
            try:
                connection.request("POST", "/v1/batch", json.dumps(body), headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                if self._collector.process.poll() is not None:
                    break
                continue
            if answer.status == 200:
                self.acknowledged.update(batch)
            else:
                self.refused += 1
        connection.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join()


def lost(collector: Collecting, load: Load) -> set[str]:
    """What was acknowledged and is not in the log."""
    return load.acknowledged - {event["messageId"] for event in collector.events()}


def killed(collector: Collecting) -> set[str]:
    """Kill the collector under load; returns what it acknowledged and lost."""
    load = Load(collector)
    with load.running():
        wait_for(lambda: len(load.acknowledged) > 300, 60, "some load")
        collector.process.kill()
        collector.process.wait()
    assert len(load.acknowledged) > 300
    return lost(collector, load)


@pytest.mark.parametrize("attempt", range(3))
def test_what_a_killed_collector_acknowledged_is_in_the_log(
    kafka: str, new_topic: Callable[[str], str], tmp_path: Path, attempt: int
) -> None:
    with collecting(kafka, new_topic("events"), new_topic("dlq"), tmp_path) as collector:
        assert killed(collector) == set()


def test_a_careless_collector_loses_events(kafka: str, new_topic: Callable[[str], str], tmp_path: Path) -> None:
    with collecting(kafka, new_topic("events"), new_topic("dlq"), tmp_path, program=CARELESS) as collector:
        assert killed(collector)


def test_what_was_acknowledged_outlives_a_killed_broker(tmp_path: Path) -> None:
    with (
        LocalKafka(brief=True) as broker,
        collecting(
            broker.bootstrap, "events", "events-dlq", tmp_path, {"create_topics": True, "collector_ack_s": 2}
        ) as collector,
    ):
        load = Load(collector)
        with load.running():
            wait_for(lambda: len(load.acknowledged) > 300, 60, "some load")
            broker.stop(kill=True)
            wait_for(lambda: load.refused > 3, 60, "a refusal")
            before = len(load.acknowledged)
            broker.start()
            wait_for(lambda: len(load.acknowledged) > before + 300, 60, "acknowledgements after the restart")
        assert lost(collector, load) == set()
        assert collector.metrics("/readyz") == "ok\n"
