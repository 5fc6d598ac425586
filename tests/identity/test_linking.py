"""Identifiers become one person, in whatever order the logs bring it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from engine.harness import compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from identity.cluster import Cluster, anonymous, device, email, user
from identity.histories import EVERY, FEATURES, Sets, histories

from rtcdp import records
from rtcdp.folding.linking import namespace
from rtcdp.queries.inspection import Viewer
from rtcdp.rules.compiling.compiled import Compiled

DAY = 86_400_000


@pytest.fixture(scope="module")
def definitions() -> Compiled:
    segments = {"viewer": "views >= 3", "buyer": "spend > 0", "rich": "spend >= 100"}
    shown = ("events", "views", "spend", "kinds", "favourite", "views_1d", "last_kind")
    tags = {f"t_{name}": {"value": name} for name in shown}
    triggers = {"hello": {"on": {"entered": "viewer"}}}
    return compiled({"features": EVERY, "segments": segments, "tags": tags, "triggers": triggers})


def of_kind(cluster: Cluster, kind: str) -> list[dict[str, Any]]:
    return [change for change in map(json.loads, cluster.changes) if change["kind"] == kind]


def test_what_an_anonymous_visitor_did_is_the_users(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    for place in range(2):
        cluster.send([anonymous("a")], "View", 1000 + place, properties={"kind": "shoes"})
    cluster.send([user("u"), anonymous("a")], "identify", 2000)
    cluster.settle()
    cluster.send([anonymous("a")], "View", 3000, properties={"kind": "hats"})
    cluster.settle()
    alias, person = cluster.profile(anonymous("a")), cluster.profile(user("u"))
    assert alias is not None
    assert person is not None
    assert (alias.alias, alias.slots, alias.segments) == (user("u"), {}, {})
    assert person.slots[definitions.features["views"].key] == 3
    assert person.slots[definitions.features["events"].key] == 4
    entered = [change for change in of_kind(cluster, "entered") if change["profile"] == user("u")]
    assert [(change["name"], change["cause"]) for change in entered] == [("viewer", "event")]
    assert {(change["profile"], change["name"], change["reason"]) for change in of_kind(cluster, "identity")} == {
        (anonymous("a"), user("u"), "alias"),
        (user("u"), anonymous("a"), "merged"),
    }
    assert not cluster.letters


def test_a_segment_that_the_alias_was_in_is_entered_without_its_trigger(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    for place in range(3):
        cluster.send([anonymous("a")], "View", 1000 + place)
    cluster.settle()
    assert len(cluster.triggers) == 1
    cluster.send([user("u"), anonymous("a")], "identify", 2000)
    cluster.settle()
    entered = [change for change in of_kind(cluster, "entered") if change["profile"] == user("u")]
    assert [(change["name"], change["cause"]) for change in entered] == [("viewer", "merge")]
    assert len(cluster.triggers) == 1, "the alias was told already"
    split = Cluster(definitions)
    for key, count in ((anonymous("b"), 2), (user("v"), 1)):
        for place in range(count):
            split.send([key], "View", 1000 + place)
    split.send([user("v"), anonymous("b")], "identify", 2000)
    split.settle()
    assert len(split.triggers) == 1, "control: neither side was in the segment, the union is"


def test_a_repeat_says_nothing_new(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    for place in range(3):
        cluster.send([user("u"), anonymous("a")], "identify", 1000 + place)
        cluster.settle()
    assert len(of_kind(cluster, "identity")) == 1


def test_two_merges_by_one_event_have_ids_of_their_own(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    for key in (email("e"), anonymous("a")):
        cluster.send([key], "View", 1000, properties={"kind": key})
    cluster.send([user("u"), email("e"), anonymous("a")], "identify", 2000)
    cluster.settle()
    ids = [change["id"] for change in map(json.loads, cluster.changes)]
    assert len(set(ids)) == len(ids) > 10


def test_two_users_of_one_device_stay_two(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    for at, keys in ((1, [user("u"), device("d")]), (2, [user("v"), device("d")])):
        cluster.send(keys, "identify", at * 1000)
        cluster.settle()
    cluster.send([device("d")], "View", 3000)
    cluster.send([user("u"), device("d")], "identify", 4000)
    cluster.settle()
    assert [cluster.person(key) for key in (user("u"), user("v"), device("d"))] == [user("u"), user("v"), device("d")]
    own = cluster.profile(device("d"))
    assert own is not None
    assert own.detached
    assert own.slots[definitions.features["views"].key] == 1, "after the second user it is its own"
    assert ("detached", user("u")) in {(change["reason"], change["name"]) for change in of_kind(cluster, "identity")}


def test_two_users_are_not_made_one_by_an_alias_call(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    cluster.send([user("u"), user("v")], "alias", 1000)
    cluster.settle()
    assert cluster.person(user("v")) == user("v")
    assert [change["reason"] for change in of_kind(cluster, "identity")] == ["refused"]


def test_a_chain_ends_at_the_strongest(definitions: Compiled) -> None:
    for seed in range(20):
        cluster = Cluster(definitions)
        cluster.send([anonymous("a")], "View", 500)
        cluster.send([email("e"), anonymous("a")], "identify", 1000)
        cluster.send([user("u"), email("e")], "identify", 2000)
        cluster.send([anonymous("a")], "View", 2500)
        cluster.settle(random.Random(seed))
        assert {cluster.person(key) for key in (anonymous("a"), email("e"), user("u"))} == {user("u")}
        person = cluster.profile(user("u"))
        assert person is not None
        assert person.slots[definitions.features["views"].key] == 2


def test_of_too_many_the_oldest_lets_go(definitions: Compiled) -> None:
    spaces = [{"name": "user_id", "paths": ["userId"]}, {"name": "device", "paths": ["context.device.id"], "limit": 2}]
    few = compiled({"features": FEATURES, "identity": {"namespaces": spaces}})
    for limited, held in ((few, 2), (definitions, 3)):  # the second is the control: there is room for three
        cluster = Cluster(limited)
        for place in range(3):
            cluster.send([user("u"), device(f"d{place}")], "identify", 1000 + place)
            cluster.settle()
        person = cluster.profile(user("u"))
        assert person is not None
        assert len(person.links) == held
        assert cluster.person(device("d0")) == (device("d0") if held == 2 else user("u"))
        assert cluster.person(device("d2")) == user("u")


def test_of_too_many_after_a_merge_the_oldest_let_go(definitions: Compiled) -> None:
    spaces = [
        {"name": "user_id", "paths": ["userId"]},
        {"name": "email", "paths": ["traits.email"]},
        {"name": "device", "paths": ["context.device.id"], "limit": 2},
    ]
    few = compiled({"features": FEATURES, "identity": {"namespaces": spaces}})
    for limited, held in ((few, {device("d2"), device("d3")}), (definitions, {device(f"d{number}") for number in range(4)})):
        cluster = Cluster(limited)
        for place in range(4):
            cluster.send([email("e") if place % 2 else user("u"), device(f"d{place}")], "identify", 1000 + place)
        cluster.send([user("u"), email("e")], "identify", 2000)
        cluster.settle()
        person = cluster.profile(user("u"))
        assert person is not None
        assert {key for key in person.links if namespace(key) == "device"} == held
        assert cluster.person(device("d0")) == (user("u") if device("d0") in held else device("d0"))


def test_a_detached_identifier_begins_as_one_never_seen(definitions: Compiled) -> None:
    newcomers = compiled({"features": FEATURES, "segments": {"newcomer": "events < 3"}})
    cluster = Cluster(newcomers, cold=True)
    for at, name in ((1, "u"), (2, "v")):
        cluster.send([user(name), device("d")], "identify", at * 1000)
        cluster.settle()
    cluster.send([device("d")], "View", 3000)
    cluster.settle()
    entered = [change["profile"] for change in of_kind(cluster, "entered")]
    assert entered == [user("u"), user("v"), device("d")], "what holds of an empty profile is entered at its first event"


def test_a_state_that_cannot_be_merged_is_kept_until_other_definitions_can(
    definitions: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(definitions)
    cluster.send([anonymous("a")], "View", 1000)
    cluster.send([user("u")], "View", 1500)
    cluster.settle()
    with monkeypatch.context() as broken:
        broken.setattr(type(definitions.features["views"].aggregate), "merge", lambda *_: 1 / 0)
        cluster.send([user("u"), anonymous("a")], "identify", 2000)
        cluster.settle()
    person = cluster.profile(user("u"))
    assert person is not None
    assert person.slots[definitions.features["views"].key] == 1
    assert len(person.owed) == 1
    assert not cluster.letters
    other = compiled({"features": FEATURES, "segments": {"viewer": "views >= 2"}})
    for number, runner in enumerate(cluster.runners):
        runner._registry = {**runner._registry, other.version: other}
        switch = records.encode(records.Switch(number=2, version=other.version, time=3000))
        cluster.waiting[number].append((records.SWITCH_KEY, switch))
    cluster.send([user("u")], "Other", 4000)
    cluster.settle()
    person = cluster.profile(user("u"))
    assert person is not None
    assert (person.slots[other.features["views"].key], person.owed) == (2, [])
    assert ("entered", "viewer") in {(change["kind"], change["name"]) for change in map(json.loads, cluster.changes)}


def test_a_wait_goes_on_in_the_union_and_is_called_off_by_what_the_other_side_knew() -> None:
    waits = compiled({
        "triggers": {
            "cart": {"on": "Add", "after": "1h", "unless": "Order"},
            "view": {"on": "View", "after": "1h", "cap": {"times": 1, "per": "1d"}},
        }
    })  # fmt: skip
    cluster = Cluster(waits)
    cluster.send([anonymous("a")], "Add", 1000)
    cluster.send([anonymous("a")], "View", 1000)
    cluster.send([user("u")], "Order", 2000)
    cluster.send([user("u")], "View", 2000)
    cluster.settle()
    cluster.send([user("u"), anonymous("a")], "identify", 3000)
    cluster.settle()
    for key in (user("u"), anonymous("a")):
        cluster.send([key], "Later", 3_700_000)
    cluster.settle()
    sent = [json.loads(trigger)["data"]["trigger"] for trigger in cluster.triggers]
    assert sent == ["view"], "of two waits the later start survives"
    assert json.loads(cluster.triggers[0])["data"]["due"] == "1970-01-01T01:00:02.000Z"
    assert {(change["name"], change["reason"]) for change in of_kind(cluster, "not_sent")} == {("cart", "cancelled")}


@settings(deadline=None, max_examples=40)
@given(history=histories(), seed=st.integers(0, 2**32))
def test_any_order_of_the_logs_gives_the_same_people_and_the_same_state(
    definitions: Compiled, history: list[tuple[list[str], str, dict[str, Any]]], seed: int
) -> None:
    dice, sets = random.Random(seed), Sets()
    one, other = Cluster(definitions), Cluster(definitions, cold=True)
    for place, (keys, name, properties) in enumerate(history):
        for cluster in (one, other):
            cluster.send(keys, name, 1000 + place, properties=properties)
        sets.join(keys)
        one.settle()
        if dice.random() < 0.5:
            other.settle(dice)
    other.settle(dice)
    everybody = sorted({key for keys, _, _ in history for key in keys})
    for key in everybody:
        assert {one.person(item) for item in sets.of[key]} == {one.person(key)}
        assert {other.person(item) for item in sets.of[key]} == {one.person(key)}
    for key in {one.person(key) for key in everybody}:
        mine, theirs = one.profile(key), other.profile(key)
        assert mine is not None
        assert theirs is not None
        view = Viewer(definitions).view
        assert view(mine, 0).features == view(theirs, 0).features
        assert (mine.traits, mine.tags) == (theirs.traits, theirs.tags)
        assert set(mine.segments) == set(theirs.segments)
        events = [(name, properties) for keys, name, properties in history if keys[0] in sets.of[key]]
        assert mine.slots[definitions.features["events"].key] == len(events)
        assert mine.slots.get(definitions.features["views"].key, 0) == sum(name == "View" for name, _ in events)
        spend = sum(properties["price"] for name, properties in events if name == "Buy")
        assert mine.slots.get(definitions.features["spend"].key, 0) == spend * 1_000_000
