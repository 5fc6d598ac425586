"""What a few people do under several names."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from identity.cluster import anonymous, device, email, user

from rtcdp.linking import namespace

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
