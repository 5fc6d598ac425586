"""Resets, sequences, sessions, balances, keys: any order gives the same, parts merge to the whole, memory is bounded."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from engine.folding import stored
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtcdp.aggregates import MAX_ENTRIES, NO_PAGE, RESET, TOUCH, Aggregate, Gaps, Recipe, Steps, build
from rtcdp.times.zones import Calendar

BEGIN = 1_700_000_000_000
W = 40
GAPS = Gaps(6)
LOOSE = Steps([False, False, False], strict=False, restart=False)
GUARDED = Steps([False, True, False, False], strict=False, restart=False)
STRICT = Steps([False, False, False], strict=True, restart=False)
ANEW = Steps([False, False, False], strict=False, restart=True)
numbers = st.integers(-3, 5)
event = st.just(1)  # what stands for an event that is only counted
marks = st.sampled_from([1, 2, 4, 3, 8])
keys = st.sampled_from([b"a" * 8, b"b" * 8])

KINDS: dict[str, tuple[Recipe, st.SearchStrategy[Any]]] = {
    "reset": (Recipe(kind="sum", resets=True), st.just(RESET) | numbers),
    "reset of texts": (Recipe(kind="last", resets=True), st.just(RESET) | st.sampled_from("ab")),
    "reset of keys": (
        Recipe(kind="count", resets=True, top=8),
        st.just(RESET) | st.tuples(st.sampled_from("ab"), event),
    ),
    "sequence": (Recipe(kind="sequence", steps=LOOSE), st.tuples(marks, st.just(b""))),
    "sequence, window": (Recipe(kind="sequence", steps=LOOSE, within=W), st.tuples(marks, st.just(b""))),
    "guarded sequence": (Recipe(kind="sequence", steps=GUARDED, within=W), st.tuples(marks, st.just(b""))),
    "strict sequence": (Recipe(kind="sequence", steps=STRICT, within=W), st.tuples(marks | st.just(0), st.just(b""))),
    "sequence anew": (Recipe(kind="sequence", steps=ANEW, within=W), st.tuples(marks, st.just(b""))),
    "sequence of the same": (Recipe(kind="sequence", steps=GUARDED, within=W, same=True), st.tuples(marks, keys)),
    "sessions": (Recipe(kind="sessions", gaps=GAPS), st.sampled_from(["", "app"])),
    "bounces": (Recipe(kind="bounces", gaps=GAPS, within=W), st.just("")),
    "time spent": (Recipe(kind="time_spent", gaps=GAPS), st.just("")),
    "in the session": (
        Recipe(kind="sum", gaps=GAPS, current=True),
        st.tuples(st.sampled_from(["", "app"]), st.just(TOUCH) | numbers),
    ),
    "length of the session": (Recipe(kind="time_spent", gaps=GAPS, current=True), st.tuples(st.just(""), st.just(TOUCH))),
    "dwell": (Recipe(kind="dwell", gaps=GAPS, top=8), st.sampled_from(["/a", "/b", NO_PAGE])),
    "balance": (Recipe(kind="balance"), numbers.filter(bool).map(lambda number: number * 1_000_000)),
    "expiring balance": (Recipe(kind="balance", expire=W), numbers.filter(bool).map(lambda number: number * 1_000_000)),
    "by key": (Recipe(kind="sum", top=8), st.tuples(st.sampled_from("abc"), numbers)),
    "by key, window": (Recipe(kind="count", top=8, within=W), st.tuples(st.sampled_from("abc"), event)),
    "today": (Recipe(kind="sum", calendar=Calendar("day", "Asia/Shanghai")), numbers),
    "sum before": (Recipe(kind="sum", within=W, offset=10), numbers),
    "unique before": (Recipe(kind="unique", within=W, offset=10), st.sampled_from("abc")),
    "first before": (Recipe(kind="first", within=W, offset=10), st.sampled_from("abc")),
}
Event = tuple[int, str, Any]


def fold(one: Aggregate, events: list[Event], now: int) -> Any:
    slot = None
    for at, name, value in events:
        slot = one.update(slot, at, name, value, now)
    return slot


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, list[Event]]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    ats = draw(st.lists(st.integers(0, 50), max_size=12))
    return kind, [(BEGIN + at, f"m{place}", draw(KINDS[kind][1])) for place, at in enumerate(ats)]


@settings(max_examples=max(25, settings().max_examples // 4))
@given(stream=streams(), seed=st.integers(0, 1000))
@example(stream=("in the session", [(BEGIN, "m0", ("", TOUCH)), (BEGIN + 1, "m1", ("", TOUCH))]), seed=0)  # nothing to add up
def test_any_order_of_the_same_events_gives_the_same_bytes(stream: tuple[str, list[Event]], seed: int) -> None:
    kind, events = stream
    one, now = build(KINDS[kind][0]), BEGIN + 50
    mixed = random.Random(seed).sample(events, len(events))
    first, second = fold(one, events, now), fold(one, mixed, now)
    instants = range(now, now + W + 2)
    assert [one.value(first, instant) for instant in instants] == [one.value(second, instant) for instant in instants]
    if len({at for at, _, _ in events}) == len(events):  # of one instant the values are the same, their places may not be
        assert stored(first) == stored(second), kind
    assert one.exact(first)


@settings(max_examples=max(25, settings().max_examples // 4))
@given(stream=streams(), parts=st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_merging_any_split_gives_the_whole(stream: tuple[str, list[Event]], parts: list[int]) -> None:
    kind, events = stream
    one, now = build(KINDS[kind][0]), BEGIN + 50

    def slots() -> list[Any]:
        return [fold(one, [event for event, part in zip(events, parts, strict=False) if part == n], now) for n in range(3)]

    a, b, c = slots()
    left = one.merge(one.merge(a, b, now), c, now)
    a, b, c = slots()
    turned = one.merge(c, one.merge(b, a, now), now)
    whole = fold(one, events, now)
    for instant in range(now, now + W + 2):
        assert one.value(left, instant) == one.value(turned, instant) == one.value(whole, instant)
        due = one.next_change(left, instant)
        assert due > instant
        assert due == instant + 1 or one.value(left, instant) == one.value(left, instant + 1)


MANY: dict[str, Callable[[random.Random], Any]] = {
    "reset": lambda chance: chance.randrange(100),
    "sequence": lambda chance: (chance.choice([1, 2]), b""),
    "sequence, window": lambda chance: (chance.choice([1, 2]), b""),
    "sequence of the same": lambda chance: (chance.choice([1, 2, 4]), chance.randbytes(8)),
    "sessions": lambda chance: "",
    "bounces": lambda chance: "",
    "in the session": lambda chance: ("", chance.randrange(5)),
    "dwell": lambda chance: f"/{chance.randrange(500)}",
    "balance": lambda chance: chance.randrange(1, 9) * 1_000_000,
    "expiring balance": lambda chance: chance.randrange(1, 9) * 1_000_000,
    "by key": lambda chance: (f"k{chance.randrange(500)}", chance.randrange(9)),
    "by key, window": lambda chance: (f"k{chance.randrange(500)}", True),
    "today": lambda chance: chance.randrange(9),
    "sum before": lambda chance: chance.randrange(9),
    "unique before": lambda chance: f"v{chance.randrange(500)}",
}


@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize("step", [0, 20])
def test_memory_is_bounded(kind: str, step: int) -> None:
    chance = random.Random(1)
    one, slot, largest = build(KINDS[kind][0]), None, 0
    for place in range(1_500):
        at = BEGIN + place * step
        slot = one.update(slot, at - chance.randrange(3), f"m{place}", MANY[kind](chance), at)
        if place % 500 == 499:
            largest = max(largest, len(stored(slot)))
            one.value(slot, at)
            one.next_change(slot, at)
    assert largest < 16_384


def test_a_sequence_says_when_more_was_relevant_than_it_keeps() -> None:
    one, slot = build(Recipe(kind="sequence", steps=LOOSE)), None
    for place in range(MAX_ENTRIES + 1):
        assert one.exact(slot)
        slot = one.update(slot, BEGIN + place, "", (1, b""), BEGIN + place)
    assert not one.exact(slot)
    slot = one.update(slot, BEGIN + 1000, "", (2, b""), BEGIN + 1000)
    slot = one.update(slot, BEGIN + 1001, "", (4, b""), BEGIN + 1001)
    assert one.value(slot, BEGIN + 1001) == 3  # what was let go has counted
    assert len(stored(slot)) < 200  # and nothing can change it any more


def test_a_reset_that_comes_later_than_what_is_kept_is_said_to_be_in_doubt() -> None:
    one, slot = build(Recipe(kind="count", resets=True)), None
    for place in range(400):
        slot = one.update(slot, BEGIN + place, "", None, BEGIN + place)
    assert one.value(slot, BEGIN + 400) == 400
    assert one.exact(slot)
    late = one.update(slot, BEGIN + 200, "", RESET, BEGIN + 400)
    assert one.exact(late)
    assert one.value(late, BEGIN + 400) == 199
    slot = None
    for place in range(400):
        slot = one.update(slot, BEGIN + place, "", None, BEGIN + place)
    slot = one.update(slot, BEGIN + 5, "", RESET, BEGIN + 400)
    assert not one.exact(slot)
    slot = one.update(slot, BEGIN + 500, "", RESET, BEGIN + 500)
    assert one.exact(slot)


def test_of_too_many_keys_the_frequent_ones_stay() -> None:
    one, slot = build(Recipe(kind="count", top=8)), None
    for place in range(2_000):
        key = "often" if place % 5 == 0 else f"k{place}"
        slot = one.update(slot, BEGIN + place, "", (key, True), BEGIN + place)
    assert one.part(slot, BEGIN, "often") == 400  # type: ignore[attr-defined] # its own
    assert len(one.value(slot, BEGIN)) == 8
    assert not one.exact(slot)
