"""What goes wrong with events on their way: every kind of bad record that the shop mixes in.

`HOPELESS` ones cannot be used and become dead letters. `REPAIRABLE` ones are cleaned: a secret is removed, a number sent
as text is corrected by the tracking plan, what is too long is cut. Which is which is the cleaner's business; the generator
only sees to it that whatever may be accepted carries a message id and keeps its visitor's key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Payload = dict[str, Any]


def _without(*names: str) -> Callable[[Payload], bytes]:
    def spoil(event: Payload) -> bytes:
        return orjson.dumps({name: value for name, value in event.items() if name not in names})

    return spoil


def _with(**fields: Any) -> Callable[[Payload], bytes]:
    def spoil(event: Payload) -> bytes:
        return orjson.dumps({**event, **fields})

    return spoil


def _property(name: str, value: Any) -> Callable[[Payload], bytes]:
    def spoil(event: Payload) -> bytes:
        return orjson.dumps({**event, "properties": {**event.get("properties", {}), name: value}})

    return spoil


def _raw_property(text: bytes) -> Callable[[Payload], bytes]:
    """A property written as raw bytes, for what no JSON encoder would write."""

    def spoil(event: Payload) -> bytes:
        return orjson.dumps({**event, "properties": {}}).replace(b'"properties":{}', b'"properties":{"price":' + text + b"}")

    return spoil


def _instead(value: bytes | None) -> Callable[[Payload], bytes | None]:
    def spoil(_event: Payload) -> bytes | None:
        return value

    return spoil


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"in": value}
    return value


HOPELESS: dict[str, Callable[[Payload], bytes | None]] = {
    "null_value": _instead(None),
    "empty": _instead(b""),
    "cut_off": lambda event: orjson.dumps(event)[:-17],
    "not_json": _instead(b"<html><body>502 Bad Gateway</body></html>"),
    "not_an_object": _instead(b"[1,2,3]"),
    "broken_utf8": _raw_property(b'"\xff\xfe"'),
    "unknown_type": _with(type="purchase"),
    "no_event_name": _with(type="track", event=""),
    "no_identity": _without("userId", "anonymousId"),
    "identity_of_wrong_type": _with(userId={"id": 7}, anonymousId=[1]),
    "properties_of_wrong_type": _with(properties="price=3"),
    "no_time": _without("timestamp", "receivedAt", "sentAt", "originalTimestamp"),
    "time_not_a_time": _with(timestamp="yesterday", receivedAt="soon", sentAt=None),
    "year_2100": _with(timestamp="2100-01-01T00:00:00Z", receivedAt="2100-01-01T00:00:00Z"),
}

TOO_LARGE = _property("blob", "x" * 600_000)  # hopeless too; apart, because few of them fill a small broker


REPAIRABLE: dict[str, Callable[[Payload], bytes]] = {
    "nan": _raw_property(b"NaN"),
    "infinity": _raw_property(b"-Infinity"),
    "lone_surrogate": _raw_property(rb'"\ud800"'),
    "no_type": _without("type"),
    "number_as_text": _property("price", "129.00"),
    "password": _property("password", "hunter2"),
    "card_number": _property("note", "card 4111 1111 1111 1111 exp 12/29"),
    "national_id": _property("note", "身份证 11010519491231002X"),
    "control_characters": _property("title", "line\u0000one\u0007\u2028two"),
    "too_deep": _property("deep", _nested(40)),
    "too_long": _property("comment", "很长" * 4_000),
    "too_many": _property("bag", {f"k{number}": number for number in range(600)}),
    "huge_number": _property("points", 10**18),
    "null_property": _property("price", None),
    "unknown_fields": _with(_metadata={"bundled": ["x"]}, integrations={"All": False}, version=2),
}
