"""Counts that rules only compare, whose constants grow and shrink with switches of definitions.

Of such a count the newest events are kept, as many as the largest constant asks for. Beside the engine: an oracle that
keeps all events, and of those that the count goes on from after a switch just the newest that it had to keep. What
`why` calls exact must be what all events say; and who enters by `at least` is right to, always.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
from engine.harness import TENANT, Partition, compiled
from engine.oracle import Happened, Ticked
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.explanation.explaining import explain
from rtcdp.folding import warming
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.profile import slot_key
from rtcdp.records import SWITCH_KEY, Switch
from rtcdp.rules.compiling.compiled import Compiled

BEGIN = 1_700_000_000_000
W = 10
CONSTANTS = (1, 2, 3, 5, 300)  # the last one is beyond what is kept one by one: counted whole


@cache
def asking(most: int) -> Compiled:
    """Definitions that compare a count with constants up to this one."""
    segments = {"some": "n >= 1", "many": f"n >= {most}", "few": f"n < {most}", "not_so_many": f"n != {most}"}
    return compiled({"features": {"n": {"count": "A", "within": f"{W}ms"}}, "segments": segments})


def kept(most: int) -> int:
    """How many events these ask for: `n != most` also for one more."""
    return most + 1


class Person:
    """One profile through events, time and switches, and its raw events twice."""

    def __init__(self, most: int) -> None:
        self.partition = Partition(*(asking(other) for other in [most, *(c for c in CONSTANTS if c != most)]))
        self.most, self.number, self.now = most, 1, BEGIN
        self.all: list[int] = []
        self.known: list[int] = []  # what the count can still know of
        self.told = 0
        self.doubts = self.wrong = 0

    def event(self, step: int, late: int) -> None:
        self.now += step
        at = self.now - late
        self.all.append(at)
        self.known.append(at)
        self.partition.feed([Happened("1", self.now, at, f"m{len(self.all)}", "A", {})])

    def switch(self, most: int, step: int) -> None:
        self.now += step
        if not self.all or most == self.most:
            return
        self.number += 1
        self.known = sorted(at for at in self.known if at > self.now - W)
        if kept(self.most) <= 256:
            self.known = self.known[-kept(self.most) :]
        self.most = most
        record = Switch(number=self.number, version=asking(most).version, time=self.now)
        self.partition.offset += 1
        self.partition.feed_records([(self.partition.offset, SWITCH_KEY, records.encode(record))])
        self.tell(0)

    def tell(self, step: int) -> None:
        self.now += step
        self.partition.feed([Ticked(self.now)])

    def members(self, events: list[int]) -> set[str]:
        """Where the language says that somebody with these events is."""
        n = sum(self.now - W < at <= self.now for at in events)
        holds = {"some": n >= 1, "many": n >= self.most, "few": n < self.most, "not_so_many": n != self.most}
        return {name for name in holds if holds[name]}

    def check(self) -> None:
        """The engine is where the kept events say, and where it is exact where all events say."""
        assert not self.partition.letters
        stored = self.partition.runner.state.get((TENANT + "1").encode())
        if stored is None:
            return
        made = asking(self.most)
        profile = profiles.decode(TENANT + "1", stored)
        Engine(made).advance(profile, self.now, Outbox("v"), simulated=True)
        keys = {slot_key(f"segment:{name}"): name for name in made.definitions.segments}
        found = {keys[key] for key in profile.segments}
        assert found == self.members(self.known)
        truth = self.members(self.all)
        came = warming.of_profile(self.partition.runner.position.came, profile)
        for name in made.definitions.segments:
            exact = "warming" not in explain(profile, Engine(made), name, at=self.now, warming=came).precision
            if exact:
                assert (name in found) == (name in truth), name
            self.doubts += not exact
            self.wrong += (name in found) != (name in truth)
        new, self.told = self.partition.outputs["1"][self.told :], len(self.partition.outputs["1"])
        entered = {item["name"] for item in new if item["kind"] == "entered" and item["at"] == self.now}
        assert entered & {"some", "many"} <= truth, "somebody entered who does not belong there"


@pytest.mark.parametrize("place", range(3))
def test_counts_whose_constants_grow_on_a_walk(place: int) -> None:
    chance = random.Random(place)
    person = Person(chance.choice(CONSTANTS[:3]))
    for _ in range(100):
        move = chance.random()
        if move < 0.75:
            person.event(chance.choice([0, 0, 0, 1, 1, 2]), chance.choice([0, 0, 0, 1, 3, W - 1, W]))
        elif move < 0.9:
            person.switch(chance.choice(CONSTANTS), chance.choice([0, 1]))
        else:
            person.tell(chance.choice([1, 2, W]))
        person.check()
    assert person.wrong, "control: no switch has ever left anything to doubt"
    assert person.wrong <= person.doubts


def test_who_had_fewer_than_were_kept_is_exact_at_once() -> None:
    for events, precision in ((2, "exact"), (3, "n: warming since 2023"), (7, "n: warming since 2023")):
        person = Person(2)  # three are kept
        for _ in range(events):
            person.event(0, 0)
        person.switch(5, 0)
        profile = profiles.decode(TENANT + "1", person.partition.runner.state[(TENANT + "1").encode()])
        came = warming.of_profile(person.partition.runner.position.came, profile)
        engine = Engine(asking(5))
        found = explain(profile, engine, "many", at=BEGIN + W - 1, warming=came).precision
        assert found.startswith(precision)
        assert explain(profile, engine, "many", at=BEGIN + W, warming=came).precision == "exact", "the window has passed"


class Machine(RuleBasedStateMachine):
    @initialize(most=st.sampled_from(CONSTANTS))
    def begin(self, most: int) -> None:
        self.person = Person(most)

    @rule(step=st.sampled_from([0, 0, 1, 2, W]), late=st.sampled_from([0, 0, 1, 4, W - 1, W]))
    def event(self, step: int, late: int) -> None:
        self.person.event(step, late)

    @rule(most=st.sampled_from(CONSTANTS), step=st.sampled_from([0, 1]))
    def switch(self, most: int, step: int) -> None:
        self.person.switch(most, step)

    @rule(step=st.sampled_from([1, 2, W]))
    def time_passes(self, step: int) -> None:
        self.person.tell(step)

    @invariant()
    def it_is_where_its_events_say(self) -> None:
        if hasattr(self, "person"):
            self.person.check()


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(
    max_examples=max(10, settings().max_examples // 5), stateful_step_count=15, suppress_health_check=list(HealthCheck)
)
