"""What the tests of triggers share: one profile, times in seconds after a Sunday's midnight in UTC."""

from __future__ import annotations

from typing import Any

from engine.harness import Partition, compiled
from engine.oracle import Happened, Output, Ticked

S = 1000
M = 60 * S
H = 60 * M
DAY = 24 * H
T = 1_772_323_200_000  # 2026-03-01T00:00:00Z


def partition(**sections: Any) -> Partition:
    """A partition with these sections; `n` counts orders, `keen` are those with one."""
    features = {"n": {"count": "Order"}, "last": {"last_time": "Order"}} | sections.pop("features", {})
    segments = {"keen": "n >= 1"} | sections.pop("segments", {})
    return Partition(compiled({"features": features, "segments": segments} | sections))


def event(name: str, at: float, received: float | None = None, message: str = "", profile: str = "1", **more: Any) -> Happened:
    """At, received: seconds after T."""
    received = at if received is None else received
    properties = more.pop("properties", {})
    then, known = T + round(at * S), T + round(received * S)
    return Happened(profile, known, then, message or f"{name}{at}/{received}", name, properties, **more)


def tick(at: float, **more: Any) -> Ticked:
    """At: seconds after T."""
    return Ticked(T + round(at * S), **more)


def told(found: Partition, *kinds: str, profile: str = "1") -> list[tuple[Any, ...]]:
    """What was decided of triggers, or what else is asked for: (name, what, seconds after T)."""
    items = [item for item in found.outputs.get(profile, []) if item["kind"] in (kinds or ("trigger", "not_sent"))]
    return [(item["name"], what(item), (item["at"] - T) / S) for item in items]


def what(item: Output) -> Any:
    if item["kind"] == "trigger":
        return item.get("step", "sent")
    if item["kind"] == "stage":
        return item.get("old"), item.get("new")
    return f"{item['reason']} {item['by']}" if item.get("by") else item.get("reason", item["kind"])
