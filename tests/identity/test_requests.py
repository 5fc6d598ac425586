"""Events, answers, corrections, splits and erasures of a few people in any order: nothing is refused, and no cache tells."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from engine.harness import compiled
from identity.cluster import PARTITIONS, Cluster, anonymous, device, email, user

from rtcdp import records
from rtcdp.folding.contributions import take_apart
from rtcdp.rules.compiling.compiled import Compiled

NAMES = [user("ann"), user("bob"), anonymous("a"), anonymous("b"), device("d"), email("ann")]
DEFINITIONS: dict[str, Any] = {
    "consent": {"purposes": {"marketing": {"default": "denied"}, "profiling": {"default": "granted"}}},
    "features": {
        "orders": {"count": "Order"},
        "spend": {"sum": "properties.x", "of": "Order", "purpose": "profiling"},
        "lately": {"count": "Order", "within": "2h"},
    },
    "segments": {"buyers": "orders >= 1", "wanted": {"if": "orders >= 2", "purpose": "marketing"}},
    "tags": {"t": {"value": "orders"}},
    "triggers": {"thanks": {"on": "Order", "after": "1h", "purpose": "marketing"}, "hi": {"on": {"entered": "buyers"}}},
}


@pytest.fixture(scope="module")
def definitions() -> Compiled:
    return compiled(DEFINITIONS)


def event(log: Cluster, dice: random.Random, key: str, at: int) -> None:
    others = [name for name in NAMES if name != key and dice.random() < 0.15]
    answers = {dice.choice(["marketing", "profiling"]): dice.random() < 0.6} if dice.random() < 0.3 else {}
    late = dice.choice([0, 0, 0, 3_000_000])
    keys = sorted([key, *others], key=NAMES.index)
    fields = {"properties": {"x": 1}, "context": {"consent": answers}, "occurred": max(at - late, 1)}
    log.send(keys, dice.choice(["Order", "View"]), at, **fields)


def request(log: Cluster, dice: random.Random, key: str, common: dict[str, Any], rules: Compiled) -> Iterator[records.Command]:
    """One of a kind; none where a split has nobody to be of."""
    kind = dice.choice(["consent", "consent", "erase", "correct", "split"])
    if kind == "consent":
        yield records.Consent(answers={dice.choice(["marketing", "@email"]): dice.choice([True, False, None])}, **common)
    elif kind == "erase":
        yield records.Erase(**common)
    elif kind == "correct":
        yield records.Correct(traits={"city": common["id"]}, **common)
    elif (person := log.profile(key)) is not None and person.links:
        logged = [one for one in log.log if one.key in {key, *person.links}]
        parts = take_apart(person, dice.choice(sorted(person.links)), logged, rules, 1)
        yield msgspec.structs.replace(parts.command(person, common["id"], "", ""), **common)


def history(seed: int, rules: Compiled, *, cold: bool) -> Cluster:
    dice, log, at = random.Random(seed), Cluster(rules, cold=cold), 1_000
    for number in range(40):
        at += dice.randrange(1, 2_000_000)
        key = dice.choice(NAMES)
        if dice.random() < 0.55:
            event(log, dice, key, at)
        else:
            common = {"id": f"c{number}", "received": at, "source": "commands/0", "offset": number}
            for command in request(log, dice, key, common, rules):
                log.append(key, records.encode(command))
        if dice.random() < 0.7:
            log.settle(dice)
        elif found := [place for place in range(PARTITIONS) if log.waiting[place]]:
            log.step(dice.choice(found), dice.randrange(1, 4))
    log.settle(dice)
    return log


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_refused_and_a_cache_changes_nothing(definitions: Compiled, seed: int) -> None:
    read, cached = (history(seed, definitions, cold=cold) for cold in (True, False))
    assert not read.letters
    assert read.changes == cached.changes
    assert read.triggers == cached.triggers
    for one, other in zip(read.runners, cached.runners, strict=True):
        assert one.state == other.state
