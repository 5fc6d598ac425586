"""What each aggregate costs beside a plain counter: the engine with one feature and one segment that reads it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import clickstream
from benchmarks.folding import by_engine
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import load

ANY = "*"
PRICE, CATEGORY = "properties.price", "properties.category"
FEATURES: dict[str, tuple[dict[str, Any], str]] = {
    "count": ({"count": ANY}, "f >= 3"),
    "count, window": ({"count": ANY, "within": "7d"}, "f >= 3"),
    "count, window, read whole": ({"count": ANY, "within": "7d"}, "f / 2 >= 3"),
    "sum, window": ({"sum": PRICE, "of": ANY, "within": "7d"}, "f >= 300"),
    "count, window before": ({"count": ANY, "within": "14d..7d"}, "f >= 3"),
    "unique, window": ({"unique": CATEGORY, "of": ANY, "within": "7d"}, "f >= 3"),
    "most frequent, window": ({"most_frequent": CATEGORY, "of": ANY, "within": "7d"}, "f == 'shoes'"),
    "sum, this month": ({"sum": PRICE, "of": ANY, "during": "month", "zone": "Asia/Shanghai"}, "f >= 300"),
    "sum, since the last order": ({"sum": PRICE, "of": ANY, "reset_on": "order_paid"}, "f >= 300"),
    "count, in the session": ({"count": ANY, "per": "session"}, "f >= 3"),
    "count by key": ({"count": ANY, "by": CATEGORY}, "f['shoes'] >= 3"),
    "sum by key": ({"sum": PRICE, "of": ANY, "by": CATEGORY}, "f['shoes'] >= 300"),
    "count by key, window": ({"count": ANY, "by": CATEGORY, "within": "7d"}, "f['shoes'] >= 3"),
    "sequence": ({"sequence": ["product_viewed", "cart_added", "order_paid"]}, "f >= 2"),
    "sequence, window": ({"sequence": ["product_viewed", "cart_added", "order_paid"], "within": "2h"}, "f >= 2"),
    "sequence of one sku, window": (
        {"sequence": ["product_viewed", "cart_added", "order_paid"], "within": "2h", "same": "properties.sku"},
        "f >= 2",
    ),
    "sessions": ({"sessions": ANY}, "f >= 3"),
    "bounces": ({"bounces": ANY}, "f >= 3"),
    "time spent": ({"time_spent": ANY}, "f >= 10m"),
    "dwell by key": ({"dwell": ANY, "by": CATEGORY}, "f['shoes'] >= 10m"),
    "balance": ({"balance": PRICE, "of": ["product_viewed", "cart_added"], "spend": "order_paid", "expire": "30d"}, "f >= 300"),
}


def _compiled(feature: dict[str, Any], condition: str) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all.yaml").write_text(json.dumps({"features": {"f": feature}, "segments": {"s": condition}}))
        return compile_definitions(load(Path(folder)))


def measure(count: int, rounds: int) -> dict[str, Any]:
    """CPU microseconds per event of each, alternating with the plain counter's, and the medians of their ratios."""
    logged = [clickstream.as_log(event) for event in clickstream.events(count)]
    counter = _compiled(*FEATURES["count"])
    plain = [(key.decode(), counter.decode(value)) for key, value in logged]
    found: dict[str, Any] = {}
    for name, (feature, condition) in FEATURES.items():
        compiled = _compiled(feature, condition)
        events = [(key.decode(), compiled.decode(value)) for key, value in logged]
        pairs = [(by_engine(compiled, events)[0], by_engine(counter, plain)[0]) for _ in range(rounds)]
        found[name] = {
            "us": median(one for one, _ in pairs) / count * 1e6,
            "counter_us": median(other for _, other in pairs) / count * 1e6,
            "ratio": median(one / other for one, other in pairs),
        }
    return found
