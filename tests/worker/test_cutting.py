"""Cuts from the live population, as the changelog holds it."""

from __future__ import annotations

from rtcdp.queries.cutting import compute, population
from tests.worker.conftest import Deploy, wait_for

DEFINITIONS = """
features: {spend: {sum: properties.revenue, of: Order Completed}}
cuts: {value: [1, 2]}
tags: {value_tier: "tier(spend, value, ['bronze', 'silver', 'gold'])"}
"""


def test_the_live_population_is_that_of_the_changelog(deploy: Deploy) -> None:
    shop = deploy()
    (shop.definitions / "shop.yaml").write_text(DEFINITIONS, "utf-8")
    worker = shop.worker().ready()
    orders = [
        {"type": "track", "userId": f"u{user}", "event": "Order Completed", "properties": {"revenue": user + 1}}
        for user in range(30)
    ]
    shop.send(*orders)
    wait_for(lambda: worker.metric('rtcdp_events_in_total{agent="profile"}') >= 30, what="thirty orders")
    assert worker.end() == 0
    (value,) = [one for one in compute(shop.definitions, population(shop.settings)) if one.name == "value"]
    assert (value.profiles, value.new) == (30, [11, 21])
