"""What is wrong about a person is put right: as had it never been, whatever came in between."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from engine.harness import compiled
from hypothesis import given
from hypothesis import strategies as st

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding.contributions import take_apart, without
from rtcdp.folding.parting import digest
from rtcdp.profile import Profile
from rtcdp.records import Correct
from rtcdp.rules.compiling.compiled import Compiled
from tests.identity.cluster import Cluster, anonymous, user

RULES: dict[str, Any] = {
    "consent": {"purposes": {"offers": "denied"}},
    "features": {
        "orders": {"count": "Buy"},
        "spend": {"sum": "properties.price", "of": "Buy"},
        "favourite": {"most_frequent": "properties.kind", "of": "Buy"},
        "lately": {"count": "Buy", "within": "1d"},
        "wanted": {"count": "Buy", "purpose": "offers"},
    },
    "tags": {"level": "orders", "city": "traits.city"},
    "segments": {"buyers": "orders >= 1", "rich": "spend >= 100", "fresh": "lately >= 2"},
    "triggers": {"thanks": {"on": {"entered": "rich"}}, "later": {"on": "Buy", "after": "2h"}},
}


@pytest.fixture(scope="module")
def rules() -> Compiled:
    return compiled(RULES)


def buy(log: Cluster, key: str, at: int, price: int, kind: str = "a", **fields: Any) -> None:
    log.send([key], "Buy", at, properties={"price": price, "kind": kind}, **fields)


def made(log: Cluster, rules: Compiled, person: Profile, *ids: str) -> Correct:
    found = without(person, ids, [one for one in log.log if one.key in {person.key, *person.links}], rules, 1)
    assert found.missing == ()
    return Correct(id="c1", without=list(ids), state=profiles.encode(found.state), expected=digest(person), simulated=True)


def put(log: Cluster, key: str, command: Correct, at: int) -> None:
    whole = msgspec.structs.replace(command, received=at, source="commands/0", offset=len(log.log))
    log.append(key, records.encode(whole))
    log.settle()


def profile(log: Cluster, key: str) -> Profile:
    found = log.profile(key)
    assert found is not None
    return found


def told(log: Cluster) -> list[tuple[str, str]]:
    return [(one["name"], one["reason"]) for one in map(json.loads, log.changes) if one["kind"] == "corrected"]


def values(rules: Compiled, found: Profile) -> dict[str, Any]:
    return {name: rules.features[name].value(found) for name in RULES["features"]}


def test_an_event_is_as_if_it_had_never_been(rules: Compiled) -> None:
    log = Cluster(rules, cold=True)
    buy(log, user("ann"), 1_000, 30)
    buy(log, user("ann"), 2_000, 900, "b", context={"consent": {"offers": True}})
    buy(log, user("ann"), 3_000, 5)
    log.settle()
    before = profile(log, user("ann"))
    put(log, user("ann"), made(log, rules, before, "m1"), 4_000)
    found = profile(log, user("ann"))
    assert values(rules, found) == {"orders": 2, "spend": 35, "favourite": "a", "lately": 2, "wanted": 0}
    assert found.consent == {}, "what it said goes with it"
    assert told(log) == [("m1", "event")]
    exited = [one["name"] for one in map(json.loads, log.changes) if one["kind"] == "exited"]
    assert exited == ["rich"]
    assert len(log.triggers) == 1, "what was sent was sent, and nothing starts"
    buy(log, user("ann"), 5_000, 900, id="m1")
    log.settle()
    assert values(rules, profile(log, user("ann")))["orders"] == 2, "a repeat of it is still a repeat"


def test_a_command_that_came_too_late_changes_nothing(rules: Compiled) -> None:
    log = Cluster(rules, cold=True)
    buy(log, user("ann"), 1_000, 30)
    log.settle()
    command = made(log, rules, profile(log, user("ann")), "m0")
    buy(log, user("ann"), 2_000, 7)
    log.settle()
    put(log, user("ann"), command, 3_000)
    assert values(rules, profile(log, user("ann")))["orders"] == 2
    assert told(log) == [("m0", "outdated")]
    put(log, user("ann"), made(log, rules, profile(log, user("ann")), "m0"), 4_000)
    assert values(rules, profile(log, user("ann")))["orders"] == 1


def test_traits_are_set_and_removed(rules: Compiled) -> None:
    log = Cluster(rules, cold=True)
    log.send([user("ann")], "identify", 1_000, traits={"city": "Bonn", "age": 3})
    log.settle()
    put(log, user("ann"), Correct(id="c1", traits={"city": "Hamburg", "age": None, "never": None}), 2_000)
    found = profile(log, user("ann"))
    assert (found.trait("city"), found.trait("age")) == ("Hamburg", None)
    assert told(log) == [("city", "trait"), ("age", "trait")]
    tags = [(one["name"], one.get("new")) for one in map(json.loads, log.changes) if one["kind"] == "tag"]
    assert tags[-1] == ("city", "Hamburg")
    assert not [one for one in log.changes if b"Bonn" in one and b'"corrected"' in one], "no value is told"
    log.send([user("ann")], "identify", 3_000, traits={"city": "Köln"}, received=3_000, occurred=1_500)
    log.settle()
    assert profile(log, user("ann")).trait("city") == "Hamburg", "what was said before it does not undo it"


def test_nobody_begins_by_a_correction(rules: Compiled) -> None:
    log = Cluster(rules, cold=True)
    put(log, user("ann"), Correct(id="c1", traits={"city": "Hamburg"}), 2_000)
    assert log.profile(user("ann")) is None
    assert told(log) == [("city", "unknown")]


def test_a_later_split_leaves_it_out_again(rules: Compiled) -> None:
    log = Cluster(rules, cold=True)
    buy(log, user("ann"), 1_000, 30)
    buy(log, user("ann"), 2_000, 900)
    buy(log, anonymous("x"), 2_500, 1)
    log.send([user("ann"), anonymous("x")], "identify", 3_000)
    log.settle()
    put(log, user("ann"), made(log, rules, profile(log, user("ann")), "m1"), 4_000)
    put(log, user("ann"), Correct(id="c2", traits={"city": "Hamburg"}), 5_000)
    person = profile(log, user("ann"))
    assert values(rules, person)["spend"] == 31
    parts = take_apart(person, anonymous("x"), [one for one in log.log if one.key in {person.key, *person.links}], rules, 1)
    assert values(rules, parts.person)["spend"] == 30
    assert parts.person.trait("city") == "Hamburg"
    assert values(rules, parts.other)["spend"] == 1


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["Buy", "View"]), st.integers(1, 200), st.sampled_from("ab"), st.sampled_from([None, True, False])
    ),
    min_size=1,
    max_size=10,
)


@given(EVENTS, st.data())
def test_it_is_the_profile_of_the_other_events(rules: Compiled, events: list[tuple[str, int, str, Any]], data: Any) -> None:
    gone = data.draw(st.sets(st.integers(0, len(events) - 1), min_size=1))
    whole, rest = Cluster(rules, cold=True), Cluster(rules, cold=True)
    for place, (name, price, kind, agrees) in enumerate(events):
        context = {} if agrees is None else {"consent": {"offers": agrees}}
        fields: dict[str, Any] = {"properties": {"price": price, "kind": kind}, "context": context, "id": f"e{place}"}
        whole.send([user("ann")], name, 1_000 * (place + 1), **fields)
        if place not in gone:
            rest.send([user("ann")], name, 1_000 * (place + 1), **fields)
    whole.settle()
    rest.settle()
    put(whole, user("ann"), made(whole, rules, profile(whole, user("ann")), *(f"e{place}" for place in sorted(gone))), 99_000)
    found, wanted = profile(whole, user("ann")), rest.profile(user("ann"))
    if wanted is None:
        assert not found.slots
        return
    assert found.slots == wanted.slots
    assert found.consent == wanted.consent
    assert found.segments.keys() == wanted.segments.keys()
    assert found.tags == wanted.tags
