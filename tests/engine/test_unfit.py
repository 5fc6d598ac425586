"""Values that should be numbers and are none: passed over, and counted by feature."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from engine.harness import Partition, compiled
from engine.reactions import event

from rtcdp.folding.fold import UNFIT

ORDERS = {"of": "Order"}
FEATURES: dict[str, dict[str, Any]] = {
    "spend": {"sum": "properties.revenue", **ORDERS},
    "where": {"sum": "properties.revenue", "where": "properties.channel == 'web'", **ORDERS},
    "mean": {"avg": "properties.revenue", "within": "7d", **ORDERS},
    "recent": {"sum": "properties.revenue", "within": "7d", **ORDERS},
    "by_shop": {"sum": "properties.revenue", "by": "properties.channel", **ORDERS},
    "items": {"sum": "properties.items[].price", "by": "properties.items[].kind", **ORDERS},
    "cart": {"sum": "properties.revenue", "reset_on": "Reset", **ORDERS},
    "points": {"balance": "properties.revenue", **ORDERS},
    "names": {"unique": "properties.revenue", **ORDERS},
}
SEEN = ["12.50", True, {"amount": 3}, None, 5, [1, "2", 3]]


@pytest.mark.parametrize("generated", [True, False])
def test_what_is_no_number_is_counted_by_feature(generated: bool) -> None:
    rules = compiled({"features": FEATURES, "segments": {"rich": "spend > 100"}})
    found = Partition(rules, generated=generated)
    unfit: Counter[str] = Counter()
    for at, value in enumerate(SEEN):
        properties = {"revenue": value, "channel": "web" if at % 2 else "app", "items": [{"kind": "a", "price": value}]}
        counts = found.feed([event("Order", at, properties=properties)]).counts
        unfit.update({name.removeprefix(UNFIT): count for name, count in counts.items() if name.startswith(UNFIT)})
    four = {"spend": 4, "mean": 4, "recent": 4, "by_shop": 4, "cart": 4, "points": 4}
    assert unfit == {**four, "where": 2, "items": 4}
