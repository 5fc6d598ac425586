"""An identifier split off: both sides as they would be had it never been linked."""

from __future__ import annotations

import json
import random
from typing import Any
from zlib import crc32

import pytest
from engine.harness import compiled
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from identity.cluster import PARTITIONS, Cluster, anonymous, device, email, user
from identity.histories import EVERY, Sets, histories

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding.contributions import Parts, take_apart
from rtcdp.profile import Profile
from rtcdp.queries.inspection import Viewer
from rtcdp.rules.compiling.compiled import Compiled

HOUR = 3_600_000


@pytest.fixture(scope="module")
def definitions() -> Compiled:
    segments = {"viewer": "views >= 3", "buyer": "spend > 0", "lately": "views_1d >= 2"}
    shown = ("events", "views", "spend", "kinds", "favourite", "views_1d", "last_kind", "kind_7h")
    tags = {f"t_{name}": {"value": name} for name in shown}
    triggers = {"hello": {"on": {"entered": "viewer"}}, "late": {"on": "View", "after": "30h", "unless": "Buy"}}
    return compiled({"features": EVERY, "segments": segments, "tags": tags, "triggers": triggers})


def apart(cluster: Cluster, definitions: Compiled, key: str, identifier: str, cut: int = 0) -> tuple[Profile, Parts]:
    """The person, and what it is made of."""
    person = cluster.profile(key)
    assert person is not None
    names = {key, *person.links}
    logged = [one for one in cluster.log if one.key in names]
    return person, take_apart(person, identifier, logged, definitions, 1, cut)


def order(cluster: Cluster, person: Profile, parts: Parts, at: int) -> None:
    """Put the command into the log."""
    command = parts.command(person, f"c{at}", "dpo", "two people")
    whole: dict[str, Any] = {"received": at, "source": "commands/0", "offset": len(cluster.log), "simulated": True}
    cluster.append(person.key, records.encode(records.Split(**{**command_fields(command), **whole})))


def command_fields(command: records.Split) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


def of_identity(cluster: Cluster) -> list[tuple[str, str, str]]:
    changes = map(json.loads, cluster.changes)
    return [(one["profile"], one["name"], one["reason"]) for one in changes if one["kind"] == "identity"]


def test_a_visitor_who_was_somebody_else_is_given_back(definitions: Compiled) -> None:
    cluster = Cluster(definitions, cold=True)
    for place in range(3):
        cluster.send([anonymous("a")], "View", place * HOUR, properties={"kind": "shoes"})
    cluster.send([user("u")], "Buy", HOUR, properties={"price": 5})
    cluster.send([user("u"), anonymous("a")], "identify", 4 * HOUR)
    cluster.settle()
    cluster.send([anonymous("a")], "View", 5 * HOUR, properties={"kind": "hats"})
    cluster.settle()
    person, parts = apart(cluster, definitions, user("u"), anonymous("a"))
    assert (parts.events, parts.along, parts.approximate) == ((2, 4), (), ())
    order(cluster, person, parts, 6 * HOUR)
    cluster.send([anonymous("a")], "View", 7 * HOUR, properties={"kind": "shoes"})  # reaches the alias before it is told
    sent = len(cluster.triggers)
    cluster.settle()
    mine, theirs = cluster.profile(user("u")), cluster.profile(anonymous("a"))
    assert mine is not None
    assert theirs is not None
    views, spend = definitions.features["views"].key, definitions.features["spend"].key
    assert (mine.slots.get(views, 0), mine.slots[spend], mine.links) == (0, 5_000_000, {})
    assert (theirs.slots[views], theirs.slots.get(spend), theirs.alias, theirs.detached) == (5, None, "", True)
    assert {user("u"), anonymous("a")} == {profile for profile, _, reason in of_identity(cluster) if reason == "split"}
    assert len(cluster.triggers) == sent, "what was decided is decided"
    cluster.send([user("u"), anonymous("a")], "identify", 8 * HOUR)
    cluster.settle()
    assert cluster.person(anonymous("a")) == anonymous("a"), "it is never taken in again"
    again = cluster.profile(user("u"))
    assert again is not None
    assert again.links == {}
    assert not cluster.letters


def test_a_person_who_has_changed_meanwhile_stays_as_it_is(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    cluster.send([anonymous("a")], "View", HOUR)
    cluster.send([user("u"), anonymous("a")], "identify", 2 * HOUR)
    cluster.settle()
    person, parts = apart(cluster, definitions, user("u"), anonymous("a"))
    cluster.send([user("u")], "View", 3 * HOUR)
    order(cluster, person, parts, 4 * HOUR)
    cluster.settle()
    assert (user("u"), anonymous("a"), "outdated") in of_identity(cluster)
    kept = cluster.profile(user("u"))
    assert kept is not None
    assert kept.slots[definitions.features["views"].key] == 2
    order(cluster, *apart(cluster, definitions, user("u"), anonymous("a")), 5 * HOUR)
    cluster.settle()
    assert cluster.person(anonymous("a")) == anonymous("a"), "control: made from what it is now, it counts"


def test_what_only_the_identifier_brought_goes_along(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    for name in ("a", "b"):
        cluster.send([anonymous(name)], "View", HOUR)
    cluster.send([user("u"), email("e")], "identify", 2 * HOUR)
    cluster.settle()
    cluster.send([email("e"), anonymous("a")], "identify", 3 * HOUR)
    cluster.send([user("u"), anonymous("b")], "identify", 3 * HOUR)
    cluster.settle()
    order(cluster, *apart(cluster, definitions, user("u"), email("e")), 4 * HOUR)
    cluster.settle()
    cluster.send([anonymous("a")], "View", 5 * HOUR)
    cluster.settle()
    people = [cluster.person(key) for key in (anonymous("a"), anonymous("b"), email("e"))]
    assert people == [email("e"), user("u"), email("e")]
    split = cluster.profile(email("e"))
    assert split is not None
    assert split.slots[definitions.features["views"].key] == 2
    assert set(split.links) == {anonymous("a")}


def test_what_the_log_no_longer_holds_is_said(definitions: Compiled) -> None:
    cluster = Cluster(definitions)
    cluster.send([anonymous("a")], "View", HOUR)
    cluster.send([user("u"), anonymous("a")], "identify", 2 * HOUR)
    cluster.send([user("u")], "Later", 50 * HOUR)
    cluster.settle()
    cluster.log = [one for one in cluster.log if records.decode(one.value).received > 2 * HOUR]
    person, parts = apart(cluster, definitions, user("u"), anonymous("a"), cut=3 * HOUR)
    windows = {name for name, feature in EVERY.items() if "within" in feature}
    assert set(parts.approximate) == set(EVERY) - windows
    views = definitions.features["views"].key
    assert parts.person.slots[views] == person.slots[views] == 1, "rather too much than nothing"


@settings(deadline=None, max_examples=40)
@given(history=histories(), seed=st.integers(0, 2**32), data=st.data())
def test_both_are_what_they_would_be_without_the_link(
    definitions: Compiled, history: list[tuple[list[str], str, dict[str, Any]]], seed: int, data: st.DataObject
) -> None:
    cluster = Cluster(definitions, cold=seed % 2 == 0)
    for place, (keys, name, properties) in enumerate(history):
        cluster.send(keys, name, place * HOUR, properties=properties)
        if seed >> place & 1:
            cluster.settle(random.Random(seed))
    cluster.settle()
    linked = sorted({(cluster.person(key), key) for keys, _, _ in history for key in keys if cluster.person(key) != key})
    assume(linked)
    whose, identifier = data.draw(st.sampled_from(linked))
    note(str((history, seed, whose, identifier)))
    without, together = Sets(), Sets()
    for keys, _, _ in history:
        for said in [[key for key in keys if key != identifier]] if keys[0] != identifier else [[key] for key in keys]:
            without.join(said)
        together.join(keys)
    mine = without.of[whose]
    leaving = together.of[identifier] - mine
    other = Cluster(definitions)
    for place, (keys, name, properties) in enumerate(history):
        side = [key for key in keys if (key in leaving) == (keys[0] in leaving)]
        other.send(side, name, place * HOUR, properties=properties)
        other.settle()
    person, parts = apart(cluster, definitions, whose, identifier)
    order(cluster, person, parts, len(history) * HOUR)
    cluster.settle()
    for each in (cluster, other):
        for key in (whose, identifier):
            each.send([key], "View", (len(history) + 1) * HOUR, properties={"kind": "x"})
        each.settle()
    assert {cluster.person(key) for key in leaving} == {other.person(identifier)}
    assert {cluster.person(key) for key in mine} == {whose}
    for key in (whose, other.person(identifier)):
        one, two = cluster.profile(key), other.profile(key)
        assert one is not None
        assert two is not None
        view = Viewer(definitions).view
        assert view(one, 0).features == view(two, 0).features
        assert (one.traits, one.tags) == (two.traits, two.tags)
        assert set(one.segments) == set(two.segments)
    assert not cluster.letters


def test_what_was_erased_of_an_identifier_is_not_made_again(definitions: Compiled) -> None:
    cluster = Cluster(definitions, cold=True)
    for at in (1_000, 2_000, 3_000):
        cluster.send([anonymous("a")], "View", at)
    cluster.settle()
    cluster.append(anonymous("a"), records.encode(records.Erase(id="e", received=4_000, source="commands/0", offset=0)))
    cluster.send([anonymous("a")], "View", 5_000)
    cluster.send([user("ann"), anonymous("a")], "identify", 6_000, type="identify")
    cluster.settle()
    _, parts = apart(cluster, definitions, user("ann"), anonymous("a"))
    assert parts.events == (1, 1)


@pytest.mark.parametrize("field", ["mine", "theirs"])
def test_a_state_of_another_release_is_the_commands_fault(definitions: Compiled, field: str) -> None:
    cluster = Cluster(definitions, cold=True)
    cluster.send([anonymous("a")], "View", 1_000)
    cluster.send([user("ann"), anonymous("a")], "identify", 2_000, type="identify")
    cluster.settle()
    person, parts = apart(cluster, definitions, user("ann"), anonymous("a"))
    command = command_fields(parts.command(person, "c", "dpo", "")) | {field: b"\xff" + bytes(40)}
    cluster.append(person.key, records.encode(records.Split(**{**command, "received": 3_000})))
    cluster.settle()
    assert len(cluster.letters) == 1, "the worker goes on"
    after = cluster.profile(user("ann"))
    assert after is not None
    assert anonymous("a") in after.links


def test_an_identifier_that_leads_to_who_has_parted_with_it_begins_anew(definitions: Compiled) -> None:
    """By way of another alias that the person does not know of; its events would go round for good."""
    cluster = Cluster(definitions, cold=True)
    cluster.send([user("ann")], "View", 1_000)
    cluster.settle()
    person = cluster.profile(user("ann"))
    assert person is not None
    person.parted[device("d")] = [1_000, "c"]
    middle, alias = Profile(anonymous("a"), 1), Profile(device("d"), 1)
    middle.alias, alias.alias, middle.fresh, alias.fresh = user("ann"), anonymous("a"), False, False
    for one in (person, middle, alias):
        cluster.runners[crc32(one.key.encode()) % PARTITIONS].state[one.key.encode()] = profiles.encode(one)
    for at in (2_000, 3_000):
        cluster.send([device("d")], "View", at)
        cluster.settle()
    assert not cluster.letters
    found = cluster.profile(device("d"))
    assert found is not None
    assert (found.alias, found.now) == ("", 3_000)
    assert [reason for key, _, reason in of_identity(cluster) if key == device("d")] == ["freed"]
