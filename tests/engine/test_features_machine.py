"""A profile through random events, time and switches of definitions: after each of them, and at every instant at which the
raw events say that something changes, it is in the segments that they say.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from engine.harness import Partition, compiled
from engine.oracle import Happened, Oracle, Spec, Ticked
from engine.test_features_oracle import BEGIN, CASES, GAP, W, conditions, equal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.profile import slot_key
from rtcdp.records import SWITCH_KEY, Switch
from rtcdp.rules.compiled import Compiled
from rtcdp.simulate import bruteforce
from rtcdp.simulate.bruteforce import Happening

NAMES = sorted(CASES)
versions = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(lambda names: tuple(sorted(names)))


def plain(name: str) -> str:
    return "f_" + name.replace(" ", "_")


@cache
def version(names: tuple[str, ...]) -> tuple[Spec, Compiled]:
    """These features, and segments that look at each in every way."""
    found: dict[str, Any] = {}
    for name in names:
        for what, condition in conditions(CASES[name]).items():
            found[f"{plain(name)}_{what}"] = _about(condition, plain(name))
    spec = Spec({plain(name): CASES[name] for name in names}, {}, found)
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

    def feature(self, name: str) -> Any:
        return bruteforce.feature(self.spec.features[name], self.seen_by[name], self.now, self.holds)

    def memberships(self) -> set[str]:
        return {name for name, condition in self.spec.segments.items() if self.value(condition) is True}


class Machine(RuleBasedStateMachine):
    @initialize(drawn=st.lists(versions, min_size=3, max_size=3, unique=True))
    def begin(self, drawn: list[tuple[str, ...]]) -> None:
        self.versions = drawn
        self.spec, first = version(drawn[0])
        self.partition = Partition(first, *(version(names)[1] for names in drawn[1:]))
        self.current, self.number, self.now, self.count = drawn[0], 1, BEGIN, 0
        self.seen: dict[str, list[Happening]] = {name: [] for name in self.spec.features}

    @rule(
        step=st.sampled_from([0, 1, 3, GAP, W]),
        late=st.sampled_from([0, 0, 0, 2, W - 1, W + 1]),
        event=st.sampled_from("ABC"),
        n=st.sampled_from([1, 2, 3, 2.5]),
        c=st.sampled_from(["x", "y"]),
    )
    def event(self, step: int, late: int, event: str, n: float, c: str) -> None:
        self.now += step
        self.count += 1
        item = Happened("1", self.now, self.now - late, f"m{self.count}", event, {"n": n, "c": c, "l": [c, "z"]}, channel="web")
        self.partition.feed([item])
        for kept in self.seen.values():
            kept.append(Happening(item.occurred, self.now, item.id, event, item.properties, "web", item))

    @rule(other=st.integers(0, 2), step=st.sampled_from([0, 2, W]))
    def switch(self, other: int, step: int) -> None:
        if not self.count or self.versions[other] == self.current:
            return
        self.now += step
        self.number += 1
        self.current = self.versions[other]
        self.spec, made = version(self.current)
        switch = Switch(number=self.number, version=made.version, time=self.now)
        self.partition.offset += 1
        self.partition.feed_records([(self.partition.offset, SWITCH_KEY, records.encode(switch))])
        self.partition.feed([Ticked(self.now)])
        self.seen = {name: self.seen.get(name, []) for name in self.spec.features}

    @rule()
    def pass_to_the_next_change(self) -> None:
        """Time is told just before, and at the instant itself."""
        before = Kept(self.spec, self.seen, self.now).memberships()
        for instant in range(self.now + 1, self.now + 3 * W):
            if Kept(self.spec, self.seen, instant).memberships() != before:
                assert not self.count or self.partition.runner.timers.next() <= instant
                self.partition.feed([Ticked(instant - 1)])
                self.now = max(self.now, instant - 1)
                self.the_profile_is_where_the_events_say()
                self.partition.feed([Ticked(instant)])
                self.now = instant
                return

    @invariant()
    def the_profile_is_where_the_events_say(self) -> None:
        stored = next(iter(self.partition.runner.state.values()), None) if getattr(self, "count", 0) else None
        if stored is None:
            return
        assert not self.partition.letters
        profile, oracle = profiles.decode("1", stored), Kept(self.spec, self.seen, self.now)
        made = version(self.current)[1]
        keys = {slot_key(f"segment:{name}"): name for name in self.spec.segments}
        assert {keys[key] for key in profile.segments} == oracle.memberships()
        for name in self.spec.features:
            leaf = made.features[name]
            assert equal(leaf.aggregate.value(profile.slots.get(leaf.key), self.now), oracle.feature(name)), name


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=max(25, settings().max_examples // 4), stateful_step_count=12, suppress_health_check=list(HealthCheck)
)
