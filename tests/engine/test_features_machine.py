"""Two persons through random events, time, merges and switches of definitions: after each of them, and at every instant at
which the raw events say that something changes, they are in the segments that these say.

Every kind of feature takes a walk of its own each time, the same each time; the machine looks for what nobody thought of.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
from engine.harness import TENANT, Partition, compiled
from engine.oracle import Happened, Oracle, Spec, Ticked
from engine.test_features_oracle import BEGIN, CASES, GAP, W, conditions, equal, plain
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding import warming
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.profile import Profile, slot_key
from rtcdp.records import SWITCH_KEY, Switch
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.simulate import bruteforce
from rtcdp.simulate.bruteforce import FeatureSpec, Happening

FEATURES: dict[str, FeatureSpec] = CASES | {
    f"{kind} within": plain(kind, within=W) for kind in ("count", "sum", "avg", "min", "unique", "most_frequent", "last_time")
}
NAMES = sorted(FEATURES)
WALKS = [tuple(NAMES[place::16]) for place in range(16)]
STEPS = 45
Version = tuple[tuple[str, ...], bool]  # features; whether rules only compare them with constants
versions = st.tuples(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(lambda names: tuple(sorted(names))), st.booleans()
)


def named(name: str) -> str:
    return "f_" + name.replace(" ", "_")


@cache
def version(of: Version) -> tuple[Spec, Compiled]:
    """These features, and segments that look at each: in every way, or only by comparing it."""
    names, only_compared = of
    found: dict[str, Any] = {}
    for name in names:
        asked = conditions(FEATURES[name])
        compared = {what: how for what, how in asked.items() if what not in ("there", "best", "two")}
        if only_compared and compared and name != "count within":  # of that only so many would be kept as are asked for
            asked = compared
        for what, condition in asked.items():
            found[f"{named(name)}_{what}"] = _about(condition, named(name))
    spec = Spec({named(name): FEATURES[name] for name in names}, {}, found)
    return spec, compiled(spec)


def _about(condition: Any, name: str) -> Any:
    """The same condition about the feature of this name."""
    if not isinstance(condition, tuple):
        return condition
    if condition[0] in ("feature", "part", "since", "top"):
        return (condition[0], name, *condition[2:])
    return tuple(_about(part, name) for part in condition)


class Kept(Oracle):
    """An oracle whose features have each seen only what came since they are kept."""

    def __init__(self, spec: Spec, seen: dict[str, list[Happening]], now: int) -> None:
        super().__init__(spec, "1")
        self.seen_by = seen
        self.now = now
        self.found: dict[str, Any] = {}

    def feature(self, name: str) -> Any:
        if name not in self.found:
            self.found[name] = bruteforce.feature(self.spec.features[name], self.seen_by[name], self.now, self.holds)
        return self.found[name]

    def memberships(self) -> set[str]:
        return {name for name, condition in self.spec.segments.items() if self.value(condition) is True}


Seen = dict[str, list[Happening]]


class Walk:
    """Two persons, their raw events by feature, and the same through the engine."""

    def __init__(self, drawn: list[Version]) -> None:
        self.versions, self.current = drawn, drawn[0]
        self.spec, self.made = version(drawn[0])
        self.partition = Partition(self.made, *(version(other)[1] for other in drawn[1:]))
        self.number, self.now, self.count = 1, BEGIN, 0
        self.seen: dict[str, Seen] = {person: {name: [] for name in self.spec.features} for person in "12"}
        self.all: dict[str, list[Happening]] = {"1": [], "2": []}

    def event(self, person: str, step: int, late: int, event: str, n: float, c: str) -> None:
        self.now += step
        self.count += 1
        at, properties = self.now - late, {"n": n, "c": c, "l": [c, "z"]}
        item = Happened(person, self.now, at, f"m{self.count}", event, properties, channel="web")
        self.partition.feed([item])
        happening = Happening(at, self.now, item.id, event, properties, "web", item)
        for kept in (*self.seen[person].values(), self.all[person]):
            kept.append(happening)

    def switch(self, other: int, step: int) -> None:
        if not self.count or self.versions[other] == self.current:
            return
        self.now += step
        self.number += 1
        self.current = self.versions[other]
        self.spec, self.made = version(self.current)
        switch = Switch(number=self.number, version=self.made.version, time=self.now)
        self.partition.offset += 1
        self.partition.feed_records([(self.partition.offset, SWITCH_KEY, records.encode(switch))])
        self.tell(self.now)
        for person, seen in self.seen.items():
            self.seen[person] = {name: seen.get(name, []) for name in self.spec.features}

    def tell(self, now: int) -> None:
        """Time passes up to this instant."""
        self.now = max(self.now, now)
        self.partition.feed([Ticked(now)])

    def stored(self, person: str) -> Profile | None:
        stored = self.partition.runner.state.get((TENANT + person).encode()) or self.partition.runner.state.get(TENANT + person)
        return None if stored is None else profiles.decode(TENANT + person, stored)

    def pass_to_the_next_change(self, person: str) -> None:
        """Time is told just before, and at the instant itself."""
        instant, profile = self.next_change(self.seen[person]), self.stored(person)
        if instant is None or profile is None:
            return
        assert profile.wake_at <= instant
        assert self.partition.runner.timers.next() <= profile.wake_at
        self.tell(instant - 1)
        self.check()
        self.tell(instant)
        self.check()

    def next_change(self, seen: Seen) -> int | None:
        """The next instant at which time alone changes a membership."""
        before = Kept(self.spec, seen, self.now).memberships()
        coming = range(self.now + 1, self.now + 3 * W)
        return next((at for at in coming if Kept(self.spec, seen, at).memberships() != before), None)

    def check(self) -> None:
        """Both are where their events say."""
        assert not self.partition.letters
        for person, seen in self.seen.items():
            profile = self.stored(person)
            if profile is not None:
                Engine(self.made).advance(profile, self.now, Outbox("v"), simulated=True)
                self.compare(profile, seen, self.now)
                self.compare_warm(profile, person)

    def compare_warm(self, profile: Profile, person: str) -> None:
        """What came with a switch and is no longer warming is what all events say."""
        came = warming.of_profile(self.partition.runner.position.came, profile)
        oracle = Kept(self.spec, dict.fromkeys(self.spec.features, self.all[person]), self.now)
        for name in self.spec.features:
            leaf = self.made.features[name]
            slot = profile.slots.get(leaf.key)
            if leaf.key not in came or not warming.misses(came[leaf.key], leaf.aggregate, slot, self.now):
                assert equal(leaf.aggregate.value(slot, self.now), oracle.feature(name)), name

    def compare(self, profile: Profile, seen: Seen, now: int) -> None:
        oracle = Kept(self.spec, seen, now)
        keys = {slot_key(f"segment:{name}"): name for name in self.spec.segments}
        assert {keys[key] for key in profile.segments} == oracle.memberships()
        for name in self.spec.features:
            leaf = self.made.features[name]
            assert equal(leaf.aggregate.value(profile.slots.get(leaf.key), now), oracle.feature(name)), name

    def merge(self) -> None:
        """What both would be as one, then and at the next change; they stay two."""
        one, other = self.stored("1"), self.stored("2")
        if one is None or other is None:
            return
        engine, outbox = Engine(self.made), Outbox("v")
        for profile in (one, other):
            engine.advance(profile, self.now, outbox, simulated=True)
            profile.now = self.now
        engine.merge(one, other, "m", outbox, revealed=self.now, simulated=True)
        both = {name: sorted(self.seen["1"][name] + self.seen["2"][name], key=_order) for name in self.spec.features}
        self.compare(one, both, self.now)
        instant = self.next_change(both)
        if instant is not None:
            assert one.wake_at <= instant
            engine.advance(one, instant, outbox, simulated=True)
            self.compare(one, both, instant)


def _order(happening: Happening) -> tuple[int, int]:
    return happening.arrived, int(happening.id[1:])


@pytest.mark.parametrize("only_compared", [False, True])
@pytest.mark.parametrize("place", range(len(WALKS)))
def test_every_feature_on_a_walk(place: int, *, only_compared: bool) -> None:
    chance = random.Random(f"{place} {only_compared}")
    of, others = WALKS[place], WALKS[(place + 1) % len(WALKS)]
    half = of[: len(of) // 2]
    walk = Walk([(of, only_compared), (half + others[:1], only_compared), (half, not only_compared)])
    for _ in range(STEPS):
        person = chance.choice("112")
        if chance.random() < 0.7:
            step, late = chance.choice([0, 0, 1, 2, 3, GAP, W]), chance.choice([0, 0, 0, 1, 2, 5, GAP, W - 1, W, W + 1])
            walk.event(person, step, late, chance.choice("AAABC"), chance.choice([1, 2, 3, 2.5, -1]), chance.choice("xy"))
        elif chance.random() < 0.6:
            walk.pass_to_the_next_change(person)
        elif chance.random() < 0.7:
            walk.merge()
        else:
            walk.switch(chance.randrange(3), chance.choice([0, 2, W]))
        walk.check()


class Machine(RuleBasedStateMachine):
    @initialize(drawn=st.lists(versions, min_size=3, max_size=3, unique=True))
    def begin(self, drawn: list[Version]) -> None:
        self.walk = Walk(drawn)

    @rule(
        person=st.sampled_from("12"),
        step=st.sampled_from([0, 1, 3, GAP, W]),
        late=st.sampled_from([0, 0, 0, 2, W - 1, W, W + 1]),
        event=st.sampled_from("ABC"),
        n=st.sampled_from([1, 2, 3, 2.5, -1]),
        c=st.sampled_from(["x", "y"]),
    )
    def event(self, person: str, step: int, late: int, event: str, n: float, c: str) -> None:
        self.walk.event(person, step, late, event, n, c)

    @rule(other=st.integers(0, 2), step=st.sampled_from([0, 2, W]))
    def switch(self, other: int, step: int) -> None:
        self.walk.switch(other, step)

    @rule(person=st.sampled_from("12"))
    def pass_to_the_next_change(self, person: str) -> None:
        self.walk.pass_to_the_next_change(person)

    @rule()
    def merge(self) -> None:
        self.walk.merge()

    @invariant()
    def both_are_where_their_events_say(self) -> None:
        if hasattr(self, "walk"):
            self.walk.check()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=max(10, settings().max_examples // 5), stateful_step_count=12, suppress_health_check=list(HealthCheck)
)
