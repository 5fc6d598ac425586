"""The RT-segments job written by hand, as somebody would who needs only these twenty segments: what rtcdp is measured against.

It counts views in day buckets and looks only when an event arrives; rtcdp's windows slide and time exits by itself, so the
segments that read a window or a clock (`TIMED`) are not compared.
"""

from __future__ import annotations

from typing import Any

DAY = 86_400.0
HOUR = 3_600.0

SEGMENTS = (
    "newcomer", "active", "power", "buyer", "repeat", "loyal", "spend1k", "spend5k", "views_no_buy", "hot_viewer",
    "lapsed_30d", "recent_buyer", "cart_abandoned", "cart_open", "fav_shoes", "fav_electronics", "fav_beauty_buyer",
    "high_aov", "window_shopper", "returning_no_buy",
)  # fmt: skip
TIMED = frozenset({"views_no_buy", "hot_viewer", "lapsed_30d", "recent_buyer", "cart_abandoned"})
COMPARED = frozenset(SEGMENTS) - TIMED

_BITS = tuple((1 << place, name) for place, name in enumerate(SEGMENTS))
_KINDS = {"page_viewed": 0, "product_viewed": 1, "cart_added": 2, "order_paid": 3, "session_start": 4}


def new() -> dict[str, Any]:
    """The state of a user nobody has seen."""
    return {
        "n": 0, "c": [0] * 5, "spend": 0.0, "seen": 0.0, "order": 0.0, "cart": 0.0,
        "views": [0] * 7, "day": 0, "cats": {}, "top": "", "most": 0, "in": 0,
    }  # fmt: skip


def process(state: dict[str, Any], event: dict[str, Any]) -> list[dict[str, Any]] | tuple[()]:
    """Fold an event into its user's state; returns the membership changes, mostly none."""
    ts = event["ts"]
    properties = event["properties"]
    counts = state["c"]
    kind = _KINDS[event["type"]]
    state["n"] = n = state["n"] + 1
    counts[kind] += 1
    views = state["views"]
    day = int(ts // DAY)
    ahead = day - state["day"]
    if ahead > 0:
        state["views"] = views = [0] * 7 if ahead >= 7 else views[ahead:] + [0] * ahead
        state["day"] = day
        ahead = 0
    if kind == 1:
        if ahead > -7:
            views[6 + ahead] += 1
    elif kind == 3:
        state["spend"] = round(state["spend"] + properties["price"], 2)
        state["order"] = ts
    elif kind == 2:
        state["cart"] = ts
    state["seen"] = ts
    category = properties["category"]
    categories = state["cats"]
    categories[category] = times = categories.get(category, 0) + 1
    if times > state["most"]:
        state["most"] = times
        state["top"] = category
    now_in = _memberships(state, n, counts, sum(views), ts)
    changed = now_in ^ state["in"]
    if not changed:
        return ()
    state["in"] = now_in
    user, event_id = event["user_id"], event["event_id"]
    return [
        {"user_id": user, "segment": name, "change": "entered" if now_in & bit else "exited", "ts": ts, "event_id": event_id}
        for bit, name in _BITS
        if changed & bit
    ]


def _memberships(state: dict[str, Any], n: int, counts: list[int], views: int, ts: float) -> int:  # noqa: C901, PLR0912  one line a segment
    """The segments the user is in, one bit each, in the order of SEGMENTS."""
    top, order, cart, spend, orders = state["top"], state["order"], state["cart"], state["spend"], counts[3]
    found = 0
    if n < 5:
        found |= 1
    if n >= 20:
        found |= 2
    if n >= 100:
        found |= 4
    if orders >= 1:
        found |= 8
    if orders >= 3:
        found |= 16
    if orders >= 10:
        found |= 32
    if spend >= 1000:
        found |= 64
    if spend >= 5000:
        found |= 128
    if views >= 10 and orders == 0:
        found |= 256
    if views >= 20:
        found |= 512
    if order and ts - order > 30 * DAY:
        found |= 1024
    if order and ts - order < 7 * DAY:
        found |= 2048
    if cart > order:
        found |= 8192
        if ts - cart > HOUR:
            found |= 4096
    if top == "shoes":
        found |= 16384
    elif top == "electronics":
        found |= 32768
    elif top == "beauty" and orders:
        found |= 65536
    if orders >= 2 and spend / orders >= 300:
        found |= 131072
    if counts[1] >= 30 and not counts[2]:
        found |= 262144
    if counts[4] >= 5 and not orders:
        found |= 524288
    return found
