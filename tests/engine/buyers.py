"""What the tests of one partition share: definitions of a few buyers, and their records."""

from __future__ import annotations

from typing import Any

from engine.harness import TENANT, Partition
from engine.oracle import Happened

from rtcdp import records
from rtcdp.records import Event

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BUYERS: dict[str, Any] = {
    "features": {"orders": {"count": "Order"}, "recent": {"count": "Order", "within": "1h"}, "last": {"last_time": "Order"}},
    "tags": {"bought": {"value": "orders", "when": "orders >= 2"}},
    "segments": {"buyers": "orders >= 1", "active": "recent >= 1", "lapsed": "since(last) > 1d", "new": "orders == 0"},
    "triggers": {"thanks": {"on": {"entered": "buyers"}}, "again": {"on": "Order", "after": "10m", "payload": {"n": "orders"}}},
}


def order(profile: str, received: int, name: str = "", **more: Any) -> Happened:
    return Happened(profile, received, more.pop("occurred", received), name or f"{profile}/{received}", "Order", {}, **more)


def event(profile: str, received: int, source: str, offset: int, name: str) -> tuple[bytes, bytes]:
    """A record of one source."""
    fields = Event(received=received, occurred=received, source=source, offset=offset, id=name, event="Order")
    return (TENANT + profile).encode(), records.encode(fields)


def names(partition: Partition, profile: str = "1") -> list[tuple[str, str, int]]:
    return [(item["kind"], item["name"], item["at"]) for item in partition.outputs.get(profile, [])]
