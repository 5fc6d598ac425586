"""The oracle can fail: what it says of streams whose outcome is known."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from faults.oracle import Fact, change, expect, pairs, trigger


class Record:
    """A record of the source."""

    def __init__(self, at: int, identity: str, event: str, headers: Any = (), **properties: Any) -> None:
        body = {"type": "track", "userId": "u", "messageId": identity, "event": event, "properties": properties}
        self._value, self._at, self._headers = json.dumps(body).encode(), at, headers

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 2, self._at

    def headers(self) -> Any:
        return self._headers

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._at


def facts(*records: Record) -> list[Fact]:
    people, _ = expect(records)  # type: ignore[arg-type] # as much of a message as it looks at
    return people["main/user_id:u"].facts


def test_what_time_does_comes_in_order_before_the_next_event() -> None:
    told = facts(
        Record(1_000, "a", "Product Viewed", item="x"),
        Record(1_100, "b", "Product Viewed", item="y"),
        Record(1_200, "c", "Product Added", item="y"),
        Record(5_000, "p", "Probe"),
    )
    assert [fact[:4] for fact in told] == [
        ("entered", "main/user_id:u", "here", 1_100),
        ("trigger", "main/user_id:u", "cart", 1_900),
        ("exited", "main/user_id:u", "here", 2_000),
        ("trigger", "main/user_id:u", "gone", 2_000),
        ("trigger", "main/user_id:u", "state", 5_000),
    ]
    assert json.loads(told[-1][-1]) == {"events": 4, "orders": 0, "spend": 0, "views": 0, "kinds": 2, "last_item": "y"}


def test_an_order_cancels_the_cart_and_a_repeat_does_nothing() -> None:
    order = Record(1_500, "b", "Order Completed", amount=250.5)
    told = facts(Record(1_000, "a", "Product Added", item="x"), order, order, Record(9_000, "p", "Probe"))
    assert [fact[0] for fact in told] == ["entered", "entered", "not_sent", "trigger", "trigger"]
    assert json.loads(told[-1][-1])["spend"] == 250.5


def test_poison_is_expected_to_be_a_dead_letter() -> None:
    people, dead = expect([Record(7, "a", "x", headers=[("dead", b"1")])])  # type: ignore[list-item] # as above
    assert (people, dead) == ({}, Counter({("letter", "events", 0, 7): 1}))


def test_another_payload_is_wrong_and_not_missing() -> None:
    told = Counter(facts(Record(1_000, "a", "Order Completed", amount=1)))
    other = Counter(facts(Record(1_000, "a", "Order Completed", amount=2)))
    assert pairs(told - other, other - told) == 1
    assert pairs(told, Counter()) == 0


def test_outputs_are_read_as_facts() -> None:
    at = "1970-01-01T00:00:01.000Z"
    body = {"kind": "entered", "profile": "p", "name": "here", "at": at, "cause": "event", "message_id": "m", "old": False}
    assert change(body | {"new": True}) == ("entered", "p", "here", 1_000, "event", "m", None, True, "")
    times = dict.fromkeys(("occurred", "decided", "expires_at"), at)
    data = {"profile": "p", "trigger": "t", "cause": "time", "payload": {"a": 1}} | times
    assert trigger({"type": "rtcdp.trigger", "data": data}) == (
        "trigger",
        "p",
        "t",
        1_000,
        "time",
        "",
        1_000,
        1_000,
        '{"a": 1}',
    )
