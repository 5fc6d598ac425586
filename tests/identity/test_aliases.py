"""Every alias leads to a person who knows of it, whatever happens in which order: so an erasure, or an end, reaches it."""

from __future__ import annotations

import random

import pytest
from engine.harness import compiled
from identity.cluster import Cluster, anonymous, device, email, user

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding import actors
from rtcdp.folding.erasing import MARK
from rtcdp.folding.linking import namespace
from rtcdp.profile import Profile
from rtcdp.records import Erase, Split, Tick
from rtcdp.rules.compiling.compiled import Compiled

DAY = 86_400_000
ORDER = ("user_id", "email", "device", "anonymous_id")
NAMES = [email("e"), email("f"), device("d"), anonymous("a"), anonymous("b")]


@pytest.fixture(scope="module")
def definitions() -> Compiled:
    return compiled({"features": {"orders": {"count": "Order Completed"}}})


def people(log: Cluster) -> dict[str, Profile]:
    found = {key.decode(): value for runner in log.runners for key, value in runner.state.items() if not key.startswith(MARK)}
    return {key: profiles.decode(key, value) for key, value in found.items()}


def astray(log: Cluster) -> list[str]:
    """Aliases whose person is not there, or knows nothing of them."""
    found = people(log)
    lost = []
    for key, profile in found.items():
        person = found.get(log.person(key))
        if profile.alias and (person is None or key not in person.links):
            lost.append(key)
    return lost


def played(definitions: Compiled, seed: int, users: list[str], *, erasing: bool) -> Cluster:
    """A log in which a few identifiers meet, and people are erased, while partitions run ahead of each other."""
    dice, log, at = random.Random(seed), Cluster(definitions, cold=True), 1_000
    names = [*users, *NAMES]
    for number in range(dice.randrange(2, 14)):
        at += 100
        what = dice.random()
        if erasing and what < 0.25:
            request = Erase(id=f"e{number}", received=at, source="commands/0", offset=number)
            log.append(dice.choice(names), records.encode(request))
        elif what < 0.7:
            keys = sorted(dice.sample(names, dice.randrange(1, 4)), key=lambda key: (ORDER.index(namespace(key)), key))
            log.send([key for key in keys if key == keys[0] or namespace(key) != "user_id"], "identify", at, type="identify")
        else:
            log.send([dice.choice(names)], "Order Completed", at)
        for _ in range(dice.randrange(4)):
            waiting = [place for place, records_ in enumerate(log.waiting) if records_]
            if waiting:
                log.step(dice.choice(waiting))
    log.settle(dice)
    assert not log.letters
    return log


@pytest.mark.parametrize(("users", "erasing"), [([user("u")], True), ([user("u"), user("v")], False)])
def test_no_alias_goes_astray(definitions: Compiled, users: list[str], *, erasing: bool) -> None:
    assert [seed for seed in range(500) if astray(played(definitions, seed, users, erasing=erasing))] == []


def test_without_what_aliases_keep_in_mind_some_do(definitions: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(actors, "MOST_BY_WAY", 0)
    monkeypatch.setattr(actors.Actors, "_by_way_of", lambda *_: None)
    users = [user("u"), user("v")]
    assert any(astray(played(definitions, seed, users, erasing=False)) for seed in range(1_500))


def test_identifiers_end_with_their_person() -> None:
    log = Cluster(compiled({"features": {"orders": {"count": "Order Completed"}}, "expire": {"known": "3d"}}), cold=True)
    log.send([email("e"), anonymous("a")], "identify", 1_000, type="identify")
    log.settle()
    log.send([user("u"), email("e"), device("d")], "identify", 2_000, type="identify")
    log.settle()
    assert log.person(anonymous("a")) == user("u"), "by way of the address"
    for number in range(len(log.runners)):
        log.waiting[number].append((b"", records.encode(Tick(time=2 * DAY, wake=10))))
    log.settle()
    assert user("u") in people(log), "the control"
    for number in range(len(log.runners)):
        log.waiting[number].append((b"", records.encode(Tick(time=4 * DAY, wake=10))))
    log.settle()
    assert people(log) == {}
    log.send([anonymous("a")], "Order Completed", 5 * DAY)
    log.settle()
    assert list(people(log)) == [anonymous("a")]


def test_who_comes_back_as_they_end_keeps_what_they_bring() -> None:
    log = Cluster(compiled({"features": {"orders": {"count": "Order Completed"}}, "expire": {"known": "3d"}}), cold=True)
    log.send([user("u"), anonymous("a")], "identify", 1_000, type="identify")
    log.settle()
    log.send([user("u"), anonymous("a")], "identify", 9 * DAY, type="identify")  # the first life ends here, unobserved
    log.settle()
    assert log.person(anonymous("a")) == user("u")
    assert astray(log) == []


def test_who_was_split_off_forgets_an_erased_person() -> None:
    log = Cluster(compiled({"features": {"orders": {"count": "Order Completed"}}}), cold=True)
    log.send([user("ann"), device("till")], "identify", 1_000, type="identify")
    log.settle()
    person = log.profile(user("ann"))
    assert person is not None
    other = Profile(device("till"), person.switch)
    other.fresh = False
    mine = profiles.decode(user("ann"), profiles.encode(person))
    split = Split(
        id="s", received=2_000, of=device("till"), head=device("till"), mine=profiles.encode(mine),
        theirs=profiles.encode(other), expected=actors.parting.digest(person),
    )  # fmt: skip
    log.append(user("ann"), records.encode(split))
    log.settle()
    assert b"ann" in profiles.encode(people(log)[device("till")])
    log.append(user("ann"), records.encode(Erase(id="e", received=5_000)))
    log.settle()
    left = people(log)
    assert set(left) == {device("till")}, "it was not theirs"
    assert b"ann" not in profiles.encode(left[device("till")])
