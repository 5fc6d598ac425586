"""Erasures in a log of several partitions: what goes, what stays, what comes back and what does not."""

from __future__ import annotations

import random
from typing import Any
from zlib import crc32

import msgspec
import pytest
from engine.harness import compiled

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding import correction
from rtcdp.folding.erasing import MARK, REQUEST
from rtcdp.profile import Profile
from rtcdp.records import Consent, Correct, Erase, Merge
from tests.identity.cluster import PARTITIONS, Cluster, anonymous, device, email, user

SHOP: dict[str, Any] = {
    "features": {"orders": {"count": "Order Completed"}},
    "segments": {"buyers": "orders >= 1"},
    "triggers": {"thanks": {"on": "Order Completed", "after": "1h"}},
}


def cluster() -> Cluster:
    return Cluster(compiled(SHOP), cold=True)


def erase(log: Cluster, key: str, at: int, request: str = "e1", offset: int = -1) -> None:
    source = "commands/0" if offset >= 0 else ""
    log.append(key, records.encode(Erase(id=request, received=at, source=source, offset=offset)))


def state(log: Cluster) -> dict[bytes, bytes]:
    return {key: value for runner in log.runners for key, value in runner.state.items()}


def people(log: Cluster) -> set[str]:
    return {key.decode() for key in state(log) if not key.startswith(MARK)}


def kinds(log: Cluster, key: str) -> list[str]:
    found = [msgspec.json.decode(change) for change in log.changes]
    return [one["kind"] for one in found if one["profile"] == key]


def a_person(log: Cluster) -> None:
    log.send([anonymous("a")], "Page Seen", 1_000)
    log.send([device("d")], "Page Seen", 1_100)
    log.send(
        [user("ann"), email("ann"), anonymous("a"), device("d")], "identify", 2_000, type="identify", traits={"name": "Ann"}
    )
    log.send([user("ann")], "Order Completed", 3_000)
    log.send([user("bob")], "Order Completed", 3_000)
    log.settle()


def test_everything_of_a_person_goes_and_of_nobody_else() -> None:
    log = cluster()
    a_person(log)
    bob = state(log)[user("bob").encode()]
    assert people(log) == {user("ann"), user("bob"), anonymous("a"), device("d"), email("ann")}
    erase(log, user("ann"), 5_000)
    log.settle()
    assert people(log) == {user("bob")}
    assert state(log)[user("bob").encode()] == bob
    marks = {key: value for key, value in state(log).items() if key.startswith(MARK)}
    assert len(marks) == 4, "one for each identifier"
    whole = b"".join(key + value for key, value in marks.items())
    assert b"ann" not in whole
    assert b"Ann" not in whole
    for value in marks.values():
        mark = profiles.decode("", value)
        assert (mark.now, mark.traits[REQUEST][1]) == (5_000, "e1")
    assert kinds(log, user("ann"))[-1] == "erased"
    cancels = [msgspec.json.decode(one) for one in log.triggers]
    assert {one["subject"] for one in cancels if one["type"] == "rtcdp.cancel"} >= {user("ann"), anonymous("a"), email("ann")}
    assert not log.letters


@pytest.mark.parametrize("asked", [anonymous("a"), email("ann")])
def test_a_request_to_any_identifier_is_for_the_person(asked: str) -> None:
    log = cluster()
    a_person(log)
    erase(log, asked, 5_000, offset=3)
    erase(log, asked, 5_000, offset=3)  # repeated by another owner of the partition of `commands`
    log.settle()
    assert people(log) == {user("bob")}
    assert kinds(log, user("ann")).count("erased") == 1


@pytest.mark.parametrize("key", [user("ann"), anonymous("a"), email("ann")])
def test_what_occurred_before_does_not_bring_the_person_back_and_a_later_visit_begins_anew(key: str) -> None:
    log = cluster()
    a_person(log)
    erase(log, user("ann"), 5_000)
    log.settle()
    log.send([key], "Order Completed", 9_000, occurred=4_999)
    log.send([user("ann"), anonymous("a")], "identify", 9_100, occurred=5_000, type="identify")
    log.settle()
    assert people(log) == {user("bob")}
    before = len(log.changes)
    log.send([key], "Order Completed", 10_000)
    log.settle()
    found = log.profile(key)
    assert found is not None
    assert people(log) == {user("bob"), key}
    entered = [msgspec.json.decode(change) for change in log.changes[before:]]
    assert [one["kind"] for one in entered] == ["entered"], "with one order, not two"
    assert not found.links
    log.send([key], "Order Completed", 11_000, occurred=4_000)  # the new life knows of the erasure too
    log.settle()
    again = log.profile(key)
    assert again is not None
    assert again.now == 10_000


def test_a_second_life_is_erased_as_the_first() -> None:
    log = cluster()
    a_person(log)
    erase(log, user("ann"), 5_000)
    log.send([user("ann")], "Order Completed", 6_000)
    log.settle()
    first = log.profile(user("ann"))
    assert first is not None
    erase(log, user("ann"), 7_000, "e2")
    log.settle()
    assert people(log) == {user("bob")}
    log.send([user("ann")], "Page Seen", 8_000, occurred=6_500)
    log.settle()
    assert people(log) == {user("bob")}
    log.send([user("ann")], "Order Completed", 8_000)
    log.settle()
    second = log.profile(user("ann"))
    assert second is not None
    assert second.seq > first.seq, "numbers of outputs grow over all lives"


def test_a_device_of_two_people_is_not_erased_with_one() -> None:
    log = cluster()
    a_person(log)
    log.send([user("bob"), device("d")], "identify", 4_000, type="identify")
    log.settle()
    log.send([device("d")], "Page Seen", 4_500)
    log.settle()
    erase(log, user("ann"), 5_000)
    log.settle()
    assert people(log) == {user("bob"), device("d")}


def test_consent_set_by_hand_goes_too() -> None:
    log = cluster()
    log.append(user("ann"), records.encode(Consent(id="c", received=1_000, answers={"marketing": False})))
    log.settle()
    assert people(log) == {user("ann")}
    erase(log, user("ann"), 5_000)
    log.settle()
    assert people(log) == set()


def test_without_its_marks_what_occurred_before_brings_the_person_back() -> None:
    """The control: the marks are what keeps it away."""
    log = cluster()
    a_person(log)
    erase(log, user("ann"), 5_000)
    log.settle()
    for runner in log.runners:
        for key in [key for key in runner.state if key.startswith(MARK)]:
            del runner.state[key]
    log.send([user("ann")], "Order Completed", 9_000, occurred=4_999)
    log.settle()
    assert user("ann") in people(log)


@pytest.mark.parametrize("seed", range(40))
def test_in_any_order_of_the_partitions_nobody_comes_back(seed: int) -> None:
    dice, log = random.Random(seed), cluster()
    names = [anonymous("a"), anonymous("b"), device("d"), email("ann")]
    for number in range(8):
        links = dice.sample(names, dice.randrange(3))
        log.send([user("ann"), *links], "identify", 1_000 + number, type="identify")
        log.send([dice.choice(names)], "Order Completed", 1_000 + number)
    log.send([user("ann"), *names], "identify", 2_000, type="identify")
    where = log.waiting[dice.randrange(3)]
    assert where is not None
    for _ in range(dice.randrange(6)):
        found = [number for number, waiting in enumerate(log.waiting) if waiting]
        log.step(dice.choice(found))
    erase(log, user("ann"), 5_000)
    for name in names:
        log.send([name], "Order Completed", 6_000, occurred=dice.randrange(1_000, 5_001))
    log.settle(dice)
    left = {key for key in people(log) if (found := log.profile(key)) is not None and not found.fresh}
    assert left == set(), left
    log.send([user("ann")], "Order Completed", 9_000)
    log.settle(dice)
    assert people(log) >= {user("ann")}
    assert not log.letters


def test_a_replay_without_the_keys_leaves_the_marks() -> None:
    """Of an erased person's records only the erasures can be read, under a mark; that is enough for what comes later."""
    live, replay = cluster(), cluster()
    a_person(live)
    erase(live, user("ann"), 5_000)
    live.settle()
    marks = {key: profiles.decode("", value) for key, value in state(live).items() if key.startswith(MARK)}
    for number, runner in enumerate(live.runners):
        for key in [key for key in runner.state if key.startswith(MARK)]:
            replay.waiting[number].append((key, records.encode(Erase(id="e1", received=5_000))))
    replay.send([user("bob")], "Order Completed", 3_000)
    replay.settle()
    found = {key: profiles.decode("", value) for key, value in state(replay).items() if key.startswith(MARK)}
    assert {key: mark.now for key, mark in found.items()} == {key: mark.now for key, mark in marks.items()}
    replay.send([user("ann")], "Order Completed", 9_000, occurred=4_000)
    replay.settle()
    assert people(replay) == {user("bob")}


def test_an_answer_on_its_way_by_an_alias_does_not_bring_the_person_back() -> None:
    log = cluster()
    a_person(log)
    log.append(user("ann"), records.encode(Erase(id="e1", received=5_000)))
    late = Consent(id="c", received=4_000, at=4_000, answers={"marketing": True})
    log.append(user("ann"), records.encode(late))  # as the alias has passed it on
    log.settle()
    assert people(log) == {user("bob")}
    again = Consent(id="d", received=6_000, answers={"marketing": True})
    log.append(user("ann"), records.encode(again))
    log.settle()
    assert user("ann") in people(log), "the control: what is said afterwards counts"


def test_what_an_erased_identifier_did_does_not_reach_whose_it_became() -> None:
    log = cluster()
    log.send([anonymous("a")], "Order Completed", 1_000)
    log.settle()
    erase(log, anonymous("a"), 5_000)
    log.settle()
    log.send([user("ann"), anonymous("a")], "identify", 6_000, type="identify")
    log.settle()
    assert log.person(anonymous("a")) == user("ann")
    before = log.profile(user("ann"))
    log.send([anonymous("a")], "Order Completed", 7_000, occurred=4_000)
    log.settle()
    found = log.profile(user("ann"))
    assert before is not None
    assert found is not None
    assert found.slots == before.slots
    log.send([anonymous("a")], "Order Completed", 8_000)
    log.settle()
    counted = log.profile(user("ann"))
    assert counted is not None
    assert counted.slots != before.slots, "the control: what it does afterwards counts"


def test_a_state_that_is_owed_to_the_person_is_erased_with_its_identifiers() -> None:
    log = cluster()
    a_person(log)
    person = log.profile(user("ann"))
    assert person is not None
    other = Profile(device("x"))
    other.links = {email("x"): [1, "m"]}
    owed = Merge(of=device("x"), state=profiles.encode(other), id="m", received=3_500)
    person.owed.append(records.encode(owed))
    runner = next(runner for runner in log.runners if user("ann").encode() in runner.state)
    runner.state[user("ann").encode()] = profiles.encode(person)
    for key in (device("x"), email("x")):
        alias = Profile(key, 1)
        alias.alias, alias.fresh = user("ann"), False
        log.runners[crc32(key.encode()) % PARTITIONS].state[key.encode()] = profiles.encode(alias)
    erase(log, user("ann"), 5_000)
    log.settle()
    assert people(log) == {user("bob")}
    assert sum(key.startswith(MARK) for key in state(log)) == 6


def test_a_dead_letter_does_not_make_an_erasure_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(correction, "correct", broken)
    log = cluster()
    a_person(log)
    erase(log, user("ann"), 5_000)
    log.settle()
    log.append(user("ann"), records.encode(Correct(id="c", received=6_000, traits={"name": "Ann"})))
    log.send([user("ann")], "Order Completed", 9_000, occurred=4_999)
    log.step(crc32(user("ann").encode()) % PARTITIONS, 2)  # one batch
    assert len(log.letters) == 1
    assert log.profile(user("ann")) is None


@pytest.mark.parametrize("seed", range(6))
def test_an_identifier_that_nobody_knew_was_theirs_goes_too(seed: int) -> None:
    log = cluster()
    log.send([email("ann"), anonymous("a")], "identify", 1_000, type="identify")
    log.settle()
    log.send([user("ann"), anonymous("a")], "identify", 2_000, type="identify")
    number = next(place for place, waiting in enumerate(log.waiting) if waiting)
    log.step(number)
    erase(log, user("ann"), 5_000)  # before the anonymous one has told whose the address is
    log.step(number)
    log.settle(random.Random(seed))
    assert people(log) == set()
    log.send([user("ann"), email("ann")], "identify", 6_000, type="identify")
    log.settle()
    assert log.person(email("ann")) == user("ann"), "what is said afterwards counts"
