"""Consent of one person under several names: whatever the order, the latest answer counts, and nothing exists without it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from engine.harness import compiled
from hypothesis import given
from hypothesis import strategies as st

from rtcdp import records
from rtcdp.records import Consent
from rtcdp.rules.compiling.compiled import Compiled
from tests.identity.cluster import Cluster, anonymous, user

RULES: dict[str, Any] = {
    "consent": {"purposes": {"offers": "denied"}},
    "features": {
        "orders": {"count": "Buy"},
        "wanted": {"count": "Buy", "purpose": "offers"},
        "lately": {"count": "Buy", "within": "1h", "purpose": "offers"},
    },
    "tags": {"level": {"value": "orders", "purpose": "offers"}},
    "segments": {"targets": "wanted >= 1", "loved": {"if": "orders >= 1", "purpose": "offers"}, "buyers": "orders >= 1"},
    "triggers": {"later": {"on": "Buy", "after": "2h", "purpose": "offers"}},
}
NAMES = (user("ann"), anonymous("a"), anonymous("b"))
STEPS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["buy", "yes", "no", "buy yes", "yes by hand", "no by hand", "link"])),
    min_size=1,
    max_size=14,
)


@pytest.fixture(scope="module")
def rules() -> Compiled:
    return compiled(RULES)


@given(STEPS, st.randoms(use_true_random=False))
def test_the_latest_answer_counts_and_nothing_exists_without_it(
    rules: Compiled, steps: list[tuple[str, str]], dice: random.Random
) -> None:
    log, latest, orders = Cluster(rules, cold=True), None, 0
    for place, (name, what) in enumerate([*steps, (NAMES[1], "link"), (NAMES[2], "link")]):
        at = 1_000 * (place + 1)
        answer = True if "yes" in what else False if "no" in what else None
        if what == "link":
            log.send([user("ann"), name] if name != user("ann") else [name], "identify", at)
        elif "hand" in what:
            command = Consent(id=f"m{place}", answers={"offers": bool(answer)}, received=at, simulated=True)
            log.append(name, records.encode(command))
        else:
            context = {} if answer is None else {"consent": {"offers": answer}}
            log.send([name], "Buy" if "buy" in what else "Seen", at, context=context)
            orders += "buy" in what
        latest = answer if answer is not None else latest
        if dice.random() < 0.5:
            log.settle(dice)
    log.settle(dice)
    person = log.profile(user("ann"))
    assert person is not None
    assert not log.letters
    assert rules.features["orders"].value(person) == orders
    kept_answer = person.consent.get("offers")
    assert (kept_answer.granted if kept_answer else None) is latest
    inside = {rule.name for rule in rules.rules if rule.is_segment and rule.key in person.segments}
    wanted = rules.features["wanted"].value(person)
    if latest:
        assert inside == {name for name, holds in {"buyers": orders, "loved": orders, "targets": wanted}.items() if holds}
        assert wanted <= orders
        return
    kept = {key for key, leaf in rules.leaves.items() if leaf.purpose is not None}
    assert kept.isdisjoint(person.slots)
    assert not person.tags
    assert not person.waiting
    assert inside <= {"buyers"}


def test_an_answer_that_comes_by_way_of_an_alias_counts_from_when_it_was_given(rules: Compiled) -> None:
    log = Cluster(rules)
    log.send([user("ann"), anonymous("a")], "identify", 1_000)
    log.settle()
    yes = Consent(id="yes", answers={"offers": True}, received=7_000, simulated=True)
    log.send([user("ann")], "Seen", 8_000, context={"consent": {"offers": False}})
    log.settle()
    log.append(anonymous("a"), records.encode(yes))
    log.settle()
    person = log.profile(user("ann"))
    assert person is not None
    assert not person.consent["offers"].granted
