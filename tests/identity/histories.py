"""What a few people do under several names."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from identity.cluster import anonymous, device, email, user

from rtcdp.folding.linking import namespace

FEATURES: dict[str, Any] = {
    "events": {"count": "*"},
    "views": {"count": "View"},
    "spend": {"sum": "properties.price", "of": "Buy"},
    "first_view": {"first_time": "View"},
    "last_buy": {"last_time": "Buy"},
    "kinds": {"unique": "properties.kind", "of": "View"},
    "favourite": {"most_frequent": "properties.kind", "of": "View"},
    "views_1d": {"count": "View", "within": "1d"},
    "last_kind": {"last": "properties.kind", "of": "View"},
}
EVERY: dict[str, Any] = {
    **FEATURES,
    "mean": {"avg": "properties.price", "of": "Buy"},
    "least": {"min": "properties.price", "of": "Buy", "within": "9h"},
    "greatest": {"max": "properties.price", "of": "*"},
    "first_kind": {"first": "properties.kind", "of": "View"},
    "spend_9h": {"sum": "properties.price", "of": "Buy", "within": "9h"},
    "kinds_9h": {"unique": "properties.kind", "of": "View", "within": "9h"},
    "kind_7h": {"most_frequent": "properties.kind", "of": "View", "within": "7h"},
    "before": {"count": "View", "within": "9h..3h"},
    "today": {"sum": "properties.price", "of": "Buy", "during": "day", "zone": "Asia/Shanghai"},
    "since_buy": {"count": "View", "reset_on": "Buy"},
    "funnel": {"sequence": ["View", "Buy"], "within": "9h"},
    "same_kind": {"sequence": ["View", "Buy"], "within": "9h", "same": "properties.kind"},
    "points": {"balance": "properties.price", "of": "Buy"},
    "visits": {"sessions": "*", "gap": "2h"},
    "lone": {"bounces": "*", "gap": "2h"},
    "spent": {"time_spent": "*", "gap": "2h"},
    "looked": {"dwell": "View", "gap": "2h"},
    "by_kind": {"count": "View", "by": "properties.kind"},
}
"""An aggregate of every kind."""


@st.composite
def histories(draw: Any) -> list[tuple[list[str], str, dict[str, Any]]]:
    """Identifies and events of a few people, none of whose identifiers meets two users."""
    people = draw(st.integers(1, 3))
    weak = [[email(f"e{one}"), device(f"d{one}"), anonymous(f"a{one}"), anonymous(f"b{one}")] for one in range(people)]
    order = ("user_id", "email", "device", "anonymous_id")
    found: list[tuple[list[str], str, dict[str, Any]]] = []
    for _ in range(draw(st.integers(1, 25))):
        person = draw(st.integers(0, people - 1))
        keys = draw(st.lists(st.sampled_from([user(f"u{person}"), *weak[person]]), min_size=1, max_size=3, unique=True))
        keys.sort(key=lambda key: (order.index(namespace(key)), key))
        if draw(st.booleans()):
            found.append((keys, "identify", {}))
        else:
            properties = {"kind": draw(st.sampled_from("xyz")), "price": draw(st.integers(1, 9))}
            found.append((keys[:1], draw(st.sampled_from(["View", "Buy"])), properties))
    return found


class Sets:
    """Union-find, with plain loops: who is whose."""

    def __init__(self) -> None:
        self.of: dict[str, set[str]] = {}

    def join(self, keys: list[str]) -> None:
        whole: set[str] = set()
        for key in keys:
            whole |= self.of.get(key, {key})
        for key in whole:
            self.of[key] = whole
