"""Every kind of bad input at once, through a worker on a real Kafka: one dead letter each, and nothing else is affected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from ingesting import million_keys

from rtcdp.rules.loading.folder import load
from rtcdp.settings.config import SourceSettings
from rtcdp.simulate.oracle import Output, compare
from rtcdp.simulate.replay import replay
from tests.worker.conftest import Deploy, Deployment, wait_for

RULES = """
features:
  orders: {count: Order Completed}
  spend: {sum: properties.price, of: Order Completed}
segments:
  buyers: orders >= 1
  regulars: orders >= 5
triggers:
  thanks:
    on: Order Completed
    payload: {orders: orders, spend: spend}
    channel: email
"""
TIME = "2024-05-01T10:00:00Z"


def order(number: int, user: str = "u1", **fields: Any) -> dict[str, Any]:
    given = {"properties": {"price": number}, "timestamp": TIME, **fields}
    return {"type": "track", "event": "Order Completed", "userId": user, "messageId": f"{user}-{number}", **given}


def raw(number: int, price: bytes) -> bytes:
    """An order whose price no JSON encoder would write."""
    return orjson.dumps(order(number, properties={})).replace(b'"properties":{}', b'"properties":{"price":%s}' % price)


# Each is an order of `u1`, which has orders before, between and behind them: whatever of them were folded would show there.
HOPELESS: dict[str, tuple[bytes | None, str]] = {
    "ten megabytes": (orjson.dumps(order(100, properties={"price": 1, "note": "x" * 10_000_000})), "too_large"),
    "a million keys": (raw(101, million_keys()), "too_large"),
    "null": (None, "null_value"),
    "nothing": (b"", "empty"),
    "half a character in UTF-8": (raw(102, b'"\xed\xa0\x80"'), "not_utf8"),
    "cut off": (orjson.dumps(order(103))[:-9], "malformed_json"),
    "a NaN in the wrong place": (b"NaN" + orjson.dumps(order(104)), "not_an_object"),
    "a wild nesting": (raw(105, b"[" * 5_000 + b"]" * 5_000), "too_deep"),
    "1970": (orjson.dumps(order(106, timestamp="1970-01-01T00:00:00Z")), "bad_timestamp"),
    "2100": (orjson.dumps(order(107, timestamp="2100-01-01T00:00:00Z")), "future"),
    "nobody": (orjson.dumps({**order(108), "userId": ""}), "no_identifier"),
}
# These count as orders, but what stands for their price is no number.
REPAIRED = {
    "NaN": raw(200, b"NaN"),
    "Infinity": raw(201, b"Infinity"),
    "-Infinity": raw(202, b"-Infinity"),
    "a lone surrogate": raw(203, rb'"\ud83d"'),
    "30,000 keys": orjson.dumps(order(204, properties={"price": {f"k{n}": n for n in range(30_000)}})),
}


class Sender:
    """Sends to partition 0 of a topic that takes records of 16 MB; offsets follow from the order."""

    def __init__(self, shop: Deployment, topic: str, **options: str) -> None:
        admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
        config = {"max.message.bytes": "16777216", **options}
        admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(30)
        self._topic = topic
        self._producer = Producer(
            {"bootstrap.servers": shop.settings.bootstrap, "message.max.bytes": 16_000_000, "enable.idempotence": True}
        )
        self._sent = 0

    def send(self, value: bytes | None, key: bytes | None = None) -> int:
        self._producer.produce(self._topic, value, key, partition=0)
        self._sent += 1
        return self._sent - 1

    def flush(self) -> None:
        assert self._producer.flush(30) == 0


def payloads(shop: Deployment, user: str) -> Callable[[], list[tuple[int, int]]]:
    """(orders, spend) of each thank-you, in order: every order that was folded shows, and what it added."""

    def read() -> list[tuple[int, int]]:
        found = [record["data"] for record in shop.records(shop.settings.triggers)]
        return [
            (data["payload"]["orders"], data["payload"]["spend"]) for data in found if data["profile"] == f"main/user_id:{user}"
        ]

    return read


def test_bad_input_of_every_kind_harms_nothing_else(deploy: Deploy) -> None:
    shop = deploy()
    (shop.definitions / "shop.yaml").write_text(RULES, "utf-8")
    arrivals = f"{shop.source}-arrivals"
    sources = (SourceSettings(topic=shop.source, time="event"), SourceSettings(topic=arrivals))
    shop.settings = shop.settings.model_copy(update={"sources": sources})
    imported = Sender(shop, shop.source)
    live = Sender(shop, arrivals, **{"message.timestamp.type": "LogAppendTime"})
    worker = shop.worker()

    good: list[bytes] = []
    expected: dict[int, str] = {}

    def send_good(value: bytes, key: bytes | None = None) -> None:
        good.append(value)
        imported.send(value, key)

    for number, (value, reason) in enumerate(HOPELESS.values()):
        send_good(orjson.dumps(order(number)))
        expected[imported.send(value, b"\xff\x00" if number % 2 else None)] = reason
    for value in REPAIRED.values():
        send_good(value)
    send_good(orjson.dumps(order(20)), key=b"")
    for user in range(50):  # others, whose records lie in the same batches
        send_good(orjson.dumps(order(1, f"other{user}")))
    # Where time is the time of arrival, no time in an event makes it unusable.
    for number, time in enumerate(["1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "not a time"]):
        live.send(orjson.dumps(order(number, "u2", timestamp=time)))
    imported.flush()
    live.flush()
    # Nobody should write to these, but somebody may.
    worker.ready()
    shop.send(b"\x00\xff", None, topic=shop.settings.commands)
    shop.send(b"\x00\xff", None, topic=shop.settings.profile_events)

    spends = [sum(range(number + 1)) for number in range(len(HOPELESS))]
    spends += [spends[-1]] * len(REPAIRED) + [spends[-1] + 20]
    wait_for(lambda: len(payloads(shop, "u1")()) >= len(spends), what="every order")
    assert payloads(shop, "u1")() == list(enumerate(spends, start=1))
    wait_for(lambda: len(payloads(shop, "u2")()) == 3, what="the three of any time")
    assert payloads(shop, "u2")() == [(1, 0), (2, 1), (3, 3)]
    for record in shop.records(shop.settings.triggers):
        if record["data"]["profile"] == "main/user_id:u2":
            assert record["data"]["occurred"] == record["data"]["received"] > "2026"

    wait_for(lambda: len(shop.records(shop.settings.events_dlq)) == len(expected) + 4, what="every dead letter")
    letters = shop.records(shop.settings.events_dlq)
    of_source = {letter["origin"]["offset"]: letter for letter in letters if letter["origin"]["topic"] == shop.source}
    assert {offset: letter["reason"] for offset, letter in of_source.items()} == expected
    for topic, stage in ((shop.settings.commands, "ingest"), (shop.settings.profile_events, "profile")):
        assert [letter["stage"] for letter in letters if letter["origin"]["topic"] == topic] == [stage, stage]
    for offset, (value, reason) in zip(expected, HOPELESS.values(), strict=True):
        assert of_source[offset]["length"] == len(value or b"")
        assert of_source[offset].get("truncated", False) == (len(value or b"") > 4_000_000), reason

    # The same, to the byte, as if the bad ones had never been sent.
    def published() -> list[Output]:
        topics = (("profile-changes", shop.settings.profile_changes), ("triggers", shop.settings.triggers))
        return [
            Output(role, message.key() or b"", message.value() or b"")
            for role, topic in topics
            for message in shop.read(topic)
            if b"user_id:u2" not in (message.key() or b"")
        ]

    wanted = list(replay(good, load(shop.definitions)))
    wait_for(lambda: len(published()) >= len(wanted), what="every output")
    assert compare(wanted, published()).lost == 0
    worker.ready()
    assert worker.end() == 0
    assert "Traceback" not in worker.log.read_text()


def test_the_comparison_shows_a_bad_event_that_was_folded(tmp_path: Path) -> None:
    """The control: one more order of `u1`, and neither the payloads nor the outputs are the same."""
    (tmp_path / "shop.yaml").write_text(RULES, "utf-8")
    definitions = load(tmp_path)
    good = [orjson.dumps(order(number)) for number in range(3)]
    slipped = [*good[:2], orjson.dumps(order(200)), good[2]]
    differences = compare(replay(good, definitions), replay(slipped, definitions))
    assert differences.extra
    assert differences.different
