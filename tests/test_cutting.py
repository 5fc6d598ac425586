"""Cuts from a population: even shares, readable numbers, written without touching anything else."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rtcdp.errors import SettingError
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.profile import Profile
from rtcdp.queries.cutting import compute, write
from rtcdp.records import Event, encode
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.check import check
from rtcdp.rules.loading.folder import load

DAY = 86_400_000
NOW = 1000 * DAY
DEFINITIONS = """# kept: the comment
features:
  orders: {count: Order Completed}
  spend: {sum: properties.revenue, of: Order Completed}
  last_order: {last_time: Order Completed}
cuts:
  value: [1, 2]   # kept: why these
  customers: {recency: [1d, 2d, 3d, 4d], frequency: [1, 2, 3, 4], monetary: [1, 2, 3, 4]}
tags:
  rfm_score: {value: "rfm(last_order, orders, spend, customers)", when: orders >= 1}
  value_tier: "tier(spend, value, ['bronze', 'silver', 'gold'])"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_text(DEFINITIONS, "utf-8")
    return tmp_path


def customers(folder: Path, count: int) -> list[Profile]:
    """Each has ordered once to nine times, for 10 to 2000 in all, up to 200 days ago; one in ten never."""
    engine, dice, found = Engine(compile_definitions(load(folder))), random.Random(1), []
    for number in range(count):
        profile = Profile(f"main/user_id:{number}")
        orders = dice.choice([0, 1, 1, 1, 1, 1, 2, 2, 3, 9]) if number % 10 else 0
        for place in range(max(1, orders)):
            at = NOW - dice.randrange(200) * DAY
            name = "Order Completed" if orders else "Product Viewed"
            properties: dict[str, Any] = {"revenue": dice.randint(10, 2000) / max(1, orders)}
            record = Event(
                received=at, occurred=at, source="e/0", offset=place, id=f"{place}", event=name, properties=properties
            )
            engine.applies[name](profile, engine.compiled.decode(encode(record)), Outbox("v"))
        profile.now = NOW
        found.append(profile)
    return found


def test_cuts_share_the_population_out_evenly(folder: Path) -> None:
    people = customers(folder, 3_000)
    found = {one.name: one for one in compute(folder, people)}
    assert set(found) == {"value", "customers.recency", "customers.frequency", "customers.monetary"}
    for one in found.values():
        assert all(before < after for before, after in pairwise(one.new)), one
    assert found["customers.recency"].of == "since(last_order)"
    assert found["customers.recency"].shown(found["customers.recency"].new)[0].endswith("d")
    assert found["customers.frequency"].new[0] == 1, "most have ordered once"
    assert found["value"].profiles < 3_000, "who has spent nothing says nothing"

    assert write(folder, found.values()) == ["shop.yaml"]
    text = (folder / "shop.yaml").read_text("utf-8")
    assert "# kept: the comment" in text
    assert "# kept: why these" in text
    assert check(folder).ok
    assert [one.new == one.old for one in compute(folder, people)] == [True] * 4, "a second time changes nothing"
    assert write(folder, compute(folder, people)) == []

    compiled = compile_definitions(load(folder))
    tag = next(rule for rule in compiled.rules if rule.name == "value_tier")
    tiers = Counter(tag.value(profile, None) for profile in people if compiled.features["spend"].value(profile))
    shares = [tiers[name] / tiers.total() for name in ("bronze", "silver", "gold")]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)


def test_nobody_leaves_the_cuts_as_they_are(folder: Path) -> None:
    assert all(one.new == one.old and one.profiles == 0 for one in compute(folder, []))


def test_a_folder_without_scores_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("features: {a: {count: A}}")
    with pytest.raises(SettingError, match="nothing is compared with cuts"):
        compute(tmp_path, [])
