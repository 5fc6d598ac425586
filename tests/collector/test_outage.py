"""While Kafka is away: clear answers at once, nothing that was acknowledged is lost, and back by itself.

On the embedded broker, which can be taken off the network; `test_kill` does it to a real one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import segment.analytics.client as segment

from rtcdp.servers.embedded_kafka import EmbeddedKafka
from tests.collector.conftest import Collecting, collecting, wait_for


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(quiet=True) as broker:
        broker.create_topic("events", 2)
        broker.create_topic("dlq", 1)
        yield broker


@pytest.fixture(scope="module")
def cut_off(broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    """A collector whose broker goes away: each test brings it back."""
    little = {"collector_ack_s": 1, "collector_buffer_bytes": 1 << 20}
    with collecting(broker.bootstrap, "events", "dlq", tmp_path_factory.mktemp("cut-off"), little) as running:
        yield running


def back(broker: EmbeddedKafka, collector: Collecting) -> list[str]:
    """Bring the broker back; returns once events are acknowledged again, with the ids of those that were."""
    broker.broker_up()
    taken = []

    def answered() -> bool:
        one = event()
        if collector.post("track", one).status == 200:
            taken.append(one["messageId"])
        return bool(taken)

    wait_for(answered, 20, "an acknowledgement")
    return taken


def event() -> dict[str, Any]:
    return {"event": "A", "userId": "u1", "messageId": uuid.uuid4().hex}


def test_without_a_broker_it_says_so_at_once_and_is_back_by_itself(broker: EmbeddedKafka, cut_off: Collecting) -> None:
    before = event()
    assert cut_off.post("track", before).status == 200
    broker.broker_down()
    first = cut_off.post("track", event())
    assert (first.status, first.json["code"]) == (503, "broker_away")
    assert int(first.headers["retry-after"]) > 0
    assert "acknowledges nothing" in cut_off.metrics("/readyz")
    assert cut_off.metrics("/healthz") == "ok\n"  # a restart would not help
    began = time.monotonic()
    assert {cut_off.post("track", event()).status for _ in range(10)} == {503}
    assert time.monotonic() - began < 5  # at most a probe or two waited
    acknowledged = [before["messageId"], *back(broker, cut_off)]
    wait_for(lambda: cut_off.metrics("/readyz") == "ok\n", 10, "readiness")
    assert {one["messageId"] for one in cut_off.events()} >= set(acknowledged)


def test_the_python_sdk_rides_it_out(broker: EmbeddedKafka, cut_off: Collecting) -> None:
    failed: list[Any] = []
    client = segment.Client(cut_off.key, host=cut_off.url, upload_interval=0.05, on_error=lambda *error: failed.append(error))
    asked = cut_off.metrics().count('call="batch",status="503"')
    broker.broker_down()
    for number in range(20):
        client.track("u1", "Sent While Away", {"number": number})
    wait_for(lambda: cut_off.metrics().count('call="batch",status="503"') > asked, 20, "a refusal")
    back(broker, cut_off)
    client.shutdown()
    assert not failed
    sent = [one["properties"]["number"] for one in cut_off.events() if one["event"] == "Sent While Away"]
    assert set(sent) == set(range(20))


def test_the_buffer_is_bounded(broker: EmbeddedKafka, cut_off: Collecting) -> None:
    broker.broker_down()
    body = json.dumps(event() | {"properties": {"text": "x" * 400_000}})
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: cut_off.post("track", body), range(12)))
    assert {answer.status for answer in answers} == {503}
    assert "busy" in {answer.json["code"] for answer in answers}
    back(broker, cut_off)


def test_sigterm_ends_what_has_begun_and_loses_nothing(broker: EmbeddedKafka, tmp_path: Path) -> None:
    sent = [event() for _ in range(40)]
    with collecting(broker.bootstrap, "events", "dlq", tmp_path) as collector, ThreadPoolExecutor(8) as pool:

        def post(one: dict[str, Any]) -> int:
            try:
                return collector.post("track", one).status
            except OSError:
                return 0  # it does not listen any more

        answers = pool.map(post, sent)
        assert next(answers) == 200
        began = time.monotonic()
        assert collector.stop() == 0
        assert time.monotonic() - began < 10
        answered = [200, *answers]
        acknowledged = {one["messageId"] for one, status in zip(sent, answered, strict=True) if status == 200}
        assert {one["messageId"] for one in collector.events()} >= acknowledged
