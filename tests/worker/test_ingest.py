"""Ingest on a real Kafka: repeats after a kill, a changed plan, sources with transactions, records of any size."""

from __future__ import annotations

import json
import signal
import threading
from collections import defaultdict
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from rtcdp.rules.loading.folder import load
from rtcdp.servers.cluster import source_ends
from rtcdp.worker.ingest.progress import Progress, decode
from rtcdp.worker.ingest.versions import IngestPlan
from tests.worker.conftest import Deploy, Deployment, WorkerProcess, wait_for


@pytest.fixture(scope="module")
def shop(deploy_once: Deploy) -> Deployment:
    """A deployment that ingests and nothing else, for the tests that need no worker of their own."""
    shop = deploy_once(agents="ingest")
    shop.worker().ready()
    return shop


def event(number: int, test: str = "m", **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Seen", "userId": f"u{number % 97}", "messageId": f"{test}{number}", **fields}


def progress(shop: Deployment) -> dict[str, Progress]:
    found: dict[str, Progress] = {}
    for message in shop.read(shop.settings.ingest_progress):
        found[(message.key() or b"").decode()] = decode(message.value() or b"")
    return found


def taken(worker: WorkerProcess) -> float:
    return worker.metric('rtcdp_events_in_total{agent="ingest"}')


def all_done(shop: Deployment) -> bool:
    """Whether ingest has published that it has done everything in the source."""
    found = progress(shop)
    ends = source_ends(shop.settings.kafka(), [shop.source])
    return all(source in found and found[source].done >= end for source, end in ends.items())


def events_in_log(shop: Deployment) -> list[Message]:
    return [message for message in shop.read(shop.settings.profile_events) if not (message.key() or b"~").startswith(b"~")]


def ids_in_log(shop: Deployment, prefix: str) -> list[str]:
    ids = [json.loads(message.value() or b"")["id"] for message in events_in_log(shop)]
    return [found for found in ids if found.startswith(prefix)]


def dropping_repeats(messages: list[Message]) -> list[dict[str, Any]]:
    """What the fold sees: per target partition, records at or below the highest origin seen are dropped."""
    seen: dict[tuple[int | None, str], int] = defaultdict(lambda: -1)
    kept = []
    for message in messages:
        record = json.loads(message.value() or b"")
        source = (message.partition(), record["source"])
        if record["offset"] > seen[source]:
            seen[source] = record["offset"]
            kept.append(record)
    return kept


TOTAL = 30_000


def ingested_over_kills(shop: Deployment, without: str = "") -> list[str]:
    """The ids that the fold sees, after two kills while events were coming in."""
    sent = threading.Event()

    def send() -> None:
        for start in range(0, TOTAL, 1_000):
            shop.send(*(event(number) for number in range(start, start + 1_000)))
            if sent.wait(0.05):
                return

    shop.worker(without).ready()
    sender = threading.Thread(target=send)
    sender.start()
    try:
        for kill in range(2):
            wait_for(lambda: taken(shop.workers[-1]) > 2_000, what=f"work before kill {kill}")
            shop.workers[-1].end(signal.SIGKILL)
            shop.worker(without).ready()
        sender.join(60)
    finally:
        sent.set()
    wait_for(lambda: all_done(shop), 60.0, "everything done")
    assert shop.workers[-1].end() == 0
    return [record["id"] for record in dropping_repeats(events_in_log(shop))]


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_after_kills_nothing_is_missing_and_repeats_are_in_order(deploy: Deploy) -> None:
    ids = ingested_over_kills(deploy(agents="ingest", instance="one"))
    assert len(ids) == len(set(ids)) == TOTAL


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_without_waiting_for_acknowledgements_kills_show(deploy: Deploy) -> None:
    ids = ingested_over_kills(deploy(agents="ingest", instance="one"), "acknowledgements")
    assert len(set(ids)) < TOTAL


def test_another_tracking_plan_counts_from_a_recorded_offset(shop: Deployment) -> None:
    old = "features: {a: {count: Seen}}\n"
    new = old + "tracking: {events: {Seen: {properties: {price: number}}}}\n"
    shop.send(*(event(number, "plan", properties={"price": "1.5"}) for number in range(100)))
    wait_for(lambda: all_done(shop))
    (shop.definitions / "shop.yaml").write_text(new, "utf-8")  # which the worker follows
    sources, version = source_ends(shop.settings.kafka(), [shop.source]), IngestPlan.of(load(shop.definitions)).version

    def announced() -> dict[str, int]:
        points = {source: progress(shop)[source].versions[-1] for source in sources}
        return {source: point.offset for source, point in points.items() if point.version == version}

    wait_for(lambda: len(announced()) == len(sources), what="the announced versions")
    assert announced() == sources
    shop.send(*(event(number, "plan", properties={"price": "1.5"}) for number in range(100, 200)))
    wait_for(lambda: all_done(shop))
    prices = {
        record["id"]: record["properties"].get("price") for record in map(json.loads, map(Message.value, events_in_log(shop)))
    }
    assert {prices[f"plan{number}"] for number in range(100)} == {"1.5"}
    assert {prices[f"plan{number}"] for number in range(100, 200)} == {1.5}


def test_a_source_with_transactions_does_not_hold_time_back(shop: Deployment) -> None:
    producer = Producer({"bootstrap.servers": shop.settings.bootstrap, "transactional.id": shop.name})
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(10):
        producer.produce(shop.source, json.dumps(event(number, "transaction")).encode(), partition=number % 2)
    producer.commit_transaction(30)
    wait_for(lambda: all_done(shop), what="the markers passed")
    first = min(one.watermark for one in progress(shop).values())
    wait_for(lambda: min(one.watermark for one in progress(shop).values()) > first, what="time going on")
    assert len(ids_in_log(shop, "transaction")) == 10


def test_records_of_any_size(shop: Deployment) -> None:
    large = json.dumps(event(1, "size", properties={"note": "x" * 600_000})).encode()
    wide = json.dumps(event(2, "size", properties={f"k{number}": number for number in range(30_000)})).encode()
    noise = bytes(range(256)) * 3_800
    shop.send(event(0, "size"), large, wide, noise, event(3, "size"))
    wait_for(lambda: all_done(shop))
    letters = {letter["length"]: letter for letter in shop.records(shop.settings.events_dlq)}
    assert letters[len(large)]["reason"] == "too_large"
    assert letters[len(noise)]["reason"] == "too_large"
    ids = set(ids_in_log(shop, "size"))
    assert {"size0", "size3"} <= ids
    assert len(ids) + len(letters) == 5
