"""Functions of the language at the ends of what numbers can be."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Partition, compiled
from engine.reactions import event

from rtcdp.rules.compiling.functions import total

HUGE = 1.7e308


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None, "3", True], 3.5),
        ([], 0),
        ([HUGE, HUGE], None),  # beyond every float
        ([-HUGE, -HUGE], None),
        ([10**309, 0.5], None),  # an exact sum may be as large, and no float is
        ([10**309, 1], 10**309 + 1),
    ],
)
def test_a_sum_that_no_number_can_hold_is_missing(values: list[Any], expected: Any) -> None:
    assert total(values) == expected


@pytest.mark.parametrize("generated", [True, False])
def test_no_number_of_an_event_keeps_its_profile_from_being_folded(generated: bool) -> None:
    features = {"spend": {"sum": "properties.revenue", "of": "Order"}, "most": {"max": "properties.revenue", "of": "Order"}}
    segments = {"rich": "sum(spend, most, 0.5) > 10", "mean": "spend / 2 > most", "rounded": "round(spend / 3, 2) > 1"}
    found = Partition(compiled({"features": features, "segments": segments}), generated=generated)
    found.feed([event("Order", at, properties={"revenue": HUGE}) for at in range(4)])
    assert not found.letters
