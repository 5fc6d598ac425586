"""From a no in an event to the end of a delivery that waits: a worker and a deliverer on a real Kafka, within a second."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.delivery.conftest import Deliver, Delivering, Receive, messages
from tests.worker.conftest import WorkerProcess, wait_for

RULES = """
consent: {purposes: {marketing: {default: denied, categories: Advertising}}}
features: {wanted: {count: Order Completed, purpose: marketing}}
tags: {level: {value: wanted, purpose: marketing}}
triggers:
  offer: {on: Order Completed, channel: email, purpose: marketing}
  receipt: {on: Order Completed, channel: email}
"""
OUTLETS = """
destinations: {{mail: {{url: {url}/500, retries: [200ms, 200ms, 200ms, 200ms, 200ms, 1h]}}}}
subscriptions: {{mails: {{to: mail, triggers: "*"}}}}
"""


@pytest.fixture
def shop(deliver: Deliver, receive: Receive) -> Iterator[Delivering]:
    receiver = receive(answer=lambda request: (500, {}))
    shop = deliver(OUTLETS.format(url=receiver.url)).run()
    definitions = shop.folder / "definitions"
    definitions.mkdir()
    (definitions / "rules.yaml").write_text(RULES, "utf-8")
    worker = WorkerProcess(shop.settings, definitions, shop.folder / "worker.log").start().ready()
    yield shop
    worker.end()


def tell(shop: Delivering, event: str, *, advertising: bool) -> None:
    preferences = {"consent": {"categoryPreferences": {"Advertising": advertising}}}
    raw = {"type": "track", "event": event, "userId": "u1", "messageId": event, "context": preferences}
    shop.producer.produce(shop.settings.sources[0].topic, json.dumps(raw))
    assert shop.producer.flush(20) == 0


def test_a_no_ends_what_waits_for_delivery_within_a_second(shop: Delivering) -> None:
    tell(shop, "Order Completed", advertising=True)
    wait_for(lambda: len(shop.pending()) == 2, what="two deliveries that wait")
    tell(shop, "Page Seen", advertising=False)
    source = shop.settings.sources[0].topic

    def appended(event: str, of: str = "") -> int:
        for message in messages(shop.settings, source):
            found = json.loads(message.value() or b"null")
            if found["event"] == event and found.get("properties", {}).get("name", "") == of:
                return int(message.timestamp()[1])
        return 0

    cancelled = wait_for(lambda: appended("Message Cancelled", "offer"), what="the end of the offer")
    took = cancelled - appended("Page Seen")
    assert took < 1_000, f"{took} ms from the event to the outcome"
    assert [one["name"] for one in shop.pending().values()] == ["receipt"], "a receipt needs no consent, and is still tried"
    changes = shop.records(shop.settings.profile_changes)
    told = [(one["kind"], one["name"], one.get("new")) for one in changes if one["message_id"] == "Page Seen"]
    assert told == [("consent", "marketing", False), ("tag", "level", None)]
