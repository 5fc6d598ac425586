"""Bounces as events come: none is counted before it is over, and what comes late takes one back."""

from __future__ import annotations

import pytest
from engine.harness import Partition, compiled
from engine.reactions import event, tick, told

RULES = compiled({"features": {"b": {"bounces": "page", "gap": "10s"}}, "segments": {"one": "b >= 1", "two": "b >= 2"}})


@pytest.mark.parametrize("generated", [True, False])
def test_what_comes_late_takes_a_bounce_back(generated: bool) -> None:
    found = Partition(RULES, generated=generated)
    found.feed([event("page", 0), tick(10), event("page", 5, received=12), tick(15), event("page", 15), event("page", 17)])
    found.feed([event("page", 40), tick(50), event("page", 50), event("page", 65)])
    decided = [("one", "entered", 10), ("one", "exited", 12), ("one", "entered", 50), ("two", "entered", 60)]
    assert told(found, "entered", "exited") == decided
