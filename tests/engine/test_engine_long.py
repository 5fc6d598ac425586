"""Every construct at once, on long streams: fixed definitions, seeded events, both engines, against the oracle."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest
from engine.harness import Partition, compiled, settled
from engine.oracle import FeatureSpec, Happened, Spec, Ticked, TriggerSpec, run

S = 1000
HIGH = ("compare", ">=", ("property", "price"), ("constant", 5))


def feature(name: str) -> tuple[str, str]:
    return ("feature", name)


def compare(operator: str, name: str, constant: Any) -> Any:
    return ("compare", operator, feature(name), ("constant", constant))


def since(operator: str, name: str, length: int) -> Any:
    return ("compare", operator, ("since", name), ("duration", length))


FEATURES = {
    "n_all": FeatureSpec("count", ("*",)),
    "n_a": FeatureSpec("count", ("A",)),
    "n_high": FeatureSpec("count", ("A", "B"), where=HIGH),
    "spend": FeatureSpec("sum", ("A",), "price"),
    "mean": FeatureSpec("avg", ("A", "B"), "price"),
    "least": FeatureSpec("min", ("B",), "price"),
    "most": FeatureSpec("max", ("*",), "price"),
    "first_cat": FeatureSpec("first", ("A",), "cat"),
    "last_cat": FeatureSpec("last", ("*",), "cat"),
    "first_at": FeatureSpec("first_time", ("*",)),
    "last_at": FeatureSpec("last_time", ("A",)),
    "last_high": FeatureSpec("last_time", ("A", "B"), where=HIGH),
    "kinds": FeatureSpec("unique", ("*",), "cat"),
    "best": FeatureSpec("most_frequent", ("*",), "cat"),
    "w_only_compared": FeatureSpec("count", ("*",), within=10 * S),
    "w_count": FeatureSpec("count", ("A",), within=7 * S),
    "w_high": FeatureSpec("count", ("A",), where=HIGH, within=20 * S),
    "w_spend": FeatureSpec("sum", ("A", "B"), "price", within=5 * S),
    "w_mean": FeatureSpec("avg", ("*",), "price", within=9 * S),
    "w_most": FeatureSpec("max", ("*",), "price", within=4 * S),
    "w_least": FeatureSpec("min", ("A",), "price", within=11 * S),
    "w_first": FeatureSpec("first", ("*",), "cat", within=6 * S),
    "w_last": FeatureSpec("last", ("A",), "cat", within=3 * S),
    "w_last_at": FeatureSpec("last_time", ("B",), within=8 * S),
    "w_kinds": FeatureSpec("unique", ("*",), "list[]", within=12 * S),
    "w_top": FeatureSpec("most_frequent", ("*",), "list[]", within=15 * S),
}
SEGMENTS = {
    "a01": compare(">=", "n_a", 3),
    "a02": ("not", ("segment", "a01")),
    "a03": compare("==", "n_all", 5),
    "a04": compare("!=", "n_high", 2),
    "a05": ("and", compare(">", "spend", 10.5), ("segment", "a02")),
    "a06": ("or", compare("<=", "spend", 20), ("trait", "vip")),
    "a07": ("not", ("trait", "vip")),
    "a08": ("and", ("missing", feature("least")), ("not", ("missing", feature("best")))),
    "a09": ("compare", ">", feature("mean"), feature("w_mean")),
    "a10": ("compare", "==", feature("last_cat"), feature("best")),
    "a11": ("compare", "<", ("-", feature("spend"), feature("w_spend")), ("constant", 12)),
    "a12": ("compare", ">=", ("/", feature("spend"), feature("n_a")), ("constant", 4)),
    "b01": since(">", "last_at", 6 * S),
    "b02": ("and", since(">=", "first_at", 13 * S), since("<", "last_high", 9 * S)),
    "b03": ("not", since("<=", "last_high", 4 * S)),
    "b04": ("and", ("segment", "b01"), ("not", ("segment", "a01"))),
    "c01": compare(">=", "w_only_compared", 2),
    "c02": compare(">=", "w_only_compared", 4),
    "c03": compare("==", "w_only_compared", 3),
    "c04": compare(">", "w_spend", 7.25),
    "c05": compare("<", "w_mean", 3),
    "c06": compare(">=", "w_most", 9),
    "c07": ("missing", feature("w_least")),
    "c08": compare("==", "w_first", "x"),
    "c09": compare("!=", "w_last", "x"),
    "c10": compare(">=", "w_kinds", 2),
    "c11": compare("==", "w_top", "x"),
    "c12": ("compare", ">", feature("n_a"), feature("w_count")),
    "c13": ("missing", feature("w_last_at")),
    "d01": ("compare", "==", ("tag", "t_band"), ("constant", "high")),
    "d02": ("and", ("segment", "d01"), ("or", ("segment", "c01"), ("segment", "b04"))),
    "d03": ("compare", ">=", ("trait", "level"), ("constant", 2)),
}
TAGS = {
    "t_band": (("if", compare(">=", "spend", 15), ("constant", "high"), ("constant", "low")), compare(">=", "n_a", 2)),
    "t_count": (feature("w_count"), None),
    "t_last": (feature("last_cat"), ("not", ("trait", "vip"))),
    "t_sum": (("+", feature("w_spend"), feature("n_all")), compare(">", "w_high", 0)),
    "t_top": (feature("w_top"), None),
}
TRIGGERS = {
    "go1": TriggerSpec(("event", "A"), after=5 * S, unless=("B",), same="cart", payload={"cart": ("property", "cart")}),
    "go2": TriggerSpec(("entered", "c01"), condition=("segment", "a06"), payload={"n": feature("w_count")}),
    "go3": TriggerSpec(("exited", "c02"), after=2 * S, unless=("A",), unless_where=HIGH, caps=((1, 9 * S),)),
    "go4": TriggerSpec(("event", "B"), where=HIGH, caps=((2, 30 * S), (1, 4 * S)), payload={"band": ("tag", "t_band")}),
    "go5": TriggerSpec(("entered", "b01"), max_age=3 * S, payload={"spend": feature("spend")}),
}
RICH = Spec(FEATURES, TAGS, SEGMENTS, TRIGGERS)


def stream(seed: int, events: int) -> list[Happened | Ticked]:
    chance = random.Random(seed)
    clock = ticked = 1_700_000_000_000
    simulated = seed % 2 == 0
    found: list[Happened | Ticked] = []
    for place in range(events):
        clock += chance.choice([0, 1, 400, S, S, 2 * S, 3 * S + 1, 9 * S])
        if chance.random() < 0.1:
            ticked = clock
            found.append(Ticked(clock, simulated))
            continue
        received = max(ticked, clock - chance.choice([0, 0, 0, 700]))
        properties = {"price": chance.choice([1, 2, 3.25, 5, 9, 9.5, "7", None]), "cart": chance.choice("pq")}
        properties |= {
            "cat": chance.choice(["x", "x", "y", 1, None]),
            "list": chance.choice([["x"], ["y", "x"], [], "x", ["z"]]),
        }
        traits = {chance.choice(["vip", "level"]): chance.choice([True, False, 1, 2, None])} if chance.random() < 0.3 else {}
        found.append(
            Happened(
                chance.choice("12"),
                received,
                received - chance.choice([0, 0, 0, 0, S, 3 * S, 8 * S]),
                f"m{chance.randrange(events)}" if chance.random() < 0.1 else f"n{place}",
                chance.choice("ABC"),
                {name: value for name, value in properties.items() if value is not None},
                traits,
                simulated,
                historical=chance.random() < 0.05,
            )
        )
    return [*found, Ticked(clock + 100 * S, simulated)]


@pytest.mark.parametrize("seed", range(4))
def test_every_construct_on_a_long_stream(seed: int) -> None:
    log = stream(seed, 70)
    expected = run(RICH, log)
    definitions = compiled(RICH)
    for generated in (True, False):
        partition = Partition(definitions, generated=generated)
        for item in log:
            partition.feed([item])
        assert not partition.letters
        assert {key: settled(items) for key, items in partition.outputs.items()} == {
            key: settled(items) for key, items in expected.items()
        }
    told = {(item["name"], item["kind"]) for items in expected.values() for item in items}
    assert len(told) > 60  # nearly everything has happened


@pytest.mark.parametrize(
    ("values", "last"),
    [
        ([1, 2, 3], 3),
        (["it's", "it", "is"], "it's"),  # by code point, however the text would be quoted
        (["a\u200b", "a\u3000", "ab"], "a\u3000"),
        ([None, "x", 2], "x"),
        ([{"b": 1, "a": 2}, {"a": 3, "b": 0}, {"a": 1}], {"a": 3, "b": 0}),  # whatever the order of their names
    ],
)
def test_traits_of_one_instant_settle_in_any_order(values: list[Any], last: Any) -> None:
    definitions = compiled(Spec({"n": FeatureSpec("count", ("A",))}, {"t": (("trait", "level"), None)}))
    for order in permutations(enumerate(values)):
        partition = Partition(definitions)
        for place, value in order:  # a batch for each: what is stored is read back
            partition.feed([Happened("1", 1000, 500, f"m{place}", "B", {}, {"level": value})])
        assert partition.outputs["1"][-1]["new"] == last


@pytest.mark.parametrize("generated", [True, False])
def test_the_kth_newest_decides_from_the_first_crossing_on(generated: bool) -> None:
    spec = Spec({"n": FeatureSpec("count", ("A",), within=10 * S)}, {}, {"s": compare(">=", "n", 2)})
    partition = Partition(compiled(spec), generated=generated)
    base = 1_700_000_000_000
    partition.feed([Happened("1", base + at, base + at, f"m{at}", "A", {}) for at in (0, S)])
    partition.feed([Ticked(base + 50 * S)])
    assert [item["at"] - base for item in partition.outputs["1"]] == [S, 10 * S]
