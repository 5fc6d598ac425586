"""The generated shop: reproducible, in order, and with everything in it that a real one has."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random

import orjson
import pytest

from rtcdp.ingestion.ingestor import Accepted, Ingestor, Refused, Source
from rtcdp.rules.definitions import IdentityPlan, TrackingPlan
from rtcdp.simulate.flaws import HOPELESS, REPAIRABLE, TOO_LARGE
from rtcdp.simulate.shop import Raw, Shop
from rtcdp.simulate.visitors import HABITS, _checkout, new_visitor
from rtcdp.times import timestamps

APPENDED = 1_790_000_000_000

EVENT = {
    "type": "track",
    "event": "Product Viewed",
    "messageId": "m1",
    "userId": "u1",
    "anonymousId": "a1",
    "timestamp": "2025-01-01T00:00:00.000Z",
    "receivedAt": "2025-01-01T00:00:00.100Z",
    "properties": {"price": 3.5},
}


def ingest(value: bytes | None) -> Accepted | Refused:
    return Ingestor(TrackingPlan(), IdentityPlan(), Source("events", time="event")).ingest(value, "events/0", 0, APPENDED)


@pytest.fixture(scope="module")
def records() -> list[Raw]:
    return list(Shop(5).records(20_000))


@pytest.fixture(scope="module")
def good(records: list[Raw]) -> list[dict[str, object]]:
    """What is a JSON object with a known type."""
    found = []
    for _, value in records:
        try:
            event = orjson.loads(value or b"")
        except orjson.JSONDecodeError:
            continue
        if isinstance(event, dict) and isinstance(ingest(value), Accepted):
            found.append(event)
    return found


def test_the_same_seed_gives_the_same_bytes(records: list[Raw]) -> None:
    again = islice(Shop(5).records(20_000), 5_000)
    assert list(again) == records[:5_000]
    assert list(Shop(5).records(100)) != list(Shop(6).records(100))


def test_exactly_as_many_as_asked_for(records: list[Raw]) -> None:
    assert len(records) == 20_000
    assert len(list(Shop().records(1))) == 1


def test_records_come_in_order_of_receipt(good: list[dict[str, object]]) -> None:
    received = [timestamps.parse(event["receivedAt"]) or 0 for event in good]
    assert all(earlier <= later for earlier, later in pairwise(received))


def test_the_clock_is_that_of_the_last_record() -> None:
    shop = Shop(2, flaws=0)
    *_, (_, value) = shop.records(500)
    assert timestamps.parse(orjson.loads(value or b"")["receivedAt"]) == shop.now


def test_events_span_the_days_asked_for() -> None:
    shop = Shop(3, days=10)
    list(shop.records(5_000))
    assert shop.now - shop.start == pytest.approx(10 * 86_400_000, rel=0.2)


def test_every_good_event_has_a_message_id_and_clients_repeat_some(good: list[dict[str, object]]) -> None:
    ids = Counter(event["messageId"] for event in good)
    assert all(ids)
    assert 100 < sum(count - 1 for count in ids.values()) < 400


def test_everything_a_shop_has_is_there(good: list[dict[str, object]]) -> None:
    names = {event.get("event") for event in good}
    assert names >= {
        "Session Started", "Product Viewed", "Product Added", "Product Removed", "Cart Viewed", "Checkout Started",
        "Order Completed", "Order Refunded", "Products Searched", "Signed Up", "Signed In",
    }  # fmt: skip
    assert {event.get("type") for event in good} >= {"track", "identify", "page", "screen"}
    assert {event["channel"] for event in good} == {"web", "app", "mini_program", "store"}
    assert any("Bot" in orjson.dumps(event).decode() for event in good)
    assert any("\u4e00" <= char <= "\u9fff" for char in str(good))
    assert {bool(event.get("userId")) for event in good} == {True, False}


def test_an_order_is_the_sum_of_its_products_less_a_discount(good: list[dict[str, object]]) -> None:
    orders = [event["properties"] for event in good if event.get("event") == "Order Completed"]
    assert len(orders) > 300
    for order in orders:
        assert isinstance(order, dict)
        total = sum(line["price"] * line["quantity"] for line in order["products"])
        assert order["revenue"] == pytest.approx(total * (0.9 if "coupon" in order else 1), abs=0.02)


def test_a_cart_that_another_visit_emptied_is_no_order() -> None:
    """A visitor in the web and in the store at once: what one visit buys, the other no longer has in its cart."""
    for seed in range(200):
        random = Random(seed)
        visitor = new_visitor(random, seed)
        visitor.kind = "loyal"
        visitor.cart.append((visitor.taste[0], 1))
        steps = []
        for step in _checkout(random, visitor, HABITS["loyal"]):
            steps.append(step.event)
            visitor.cart.clear()
        assert "Order Completed" not in steps


def test_nights_are_quiet() -> None:
    shop = Shop(4, days=30, flaws=0)
    hours: Counter[int] = Counter()
    for _ in shop.records(10_000):
        hours[(shop.now // 3_600_000 + 8) % 24] += 1
    assert sum(hours[hour] for hour in range(1, 6)) * 5 < sum(hours[hour] for hour in range(18, 23))


def test_records_of_a_person_have_one_key(records: list[Raw]) -> None:
    keys: dict[str, set[bytes | None]] = {}
    for key, value in records:
        found = ingest(value)
        if isinstance(found, Accepted):
            keys.setdefault(found.key.decode(), set()).add(key)
    assert all(len(own) == 1 for own in keys.values())


@pytest.mark.parametrize("flaw", [*HOPELESS, "too_large"])
def test_what_is_hopeless_is_refused(flaw: str) -> None:
    spoil = HOPELESS.get(flaw, TOO_LARGE)
    assert isinstance(ingest(spoil(EVENT)), Refused)


@pytest.mark.parametrize("flaw", sorted(REPAIRABLE))
def test_what_is_repairable_is_accepted(flaw: str) -> None:
    assert isinstance(ingest(REPAIRABLE[flaw](EVENT)), Accepted)
