"""Every aggregate equals its recomputation from the raw events: at every step, and at every instant between."""

from __future__ import annotations

import random
from typing import Any

import pytest
from engine.folding import KINDS, NUMERIC, WITHIN, fold, same, stored, truth
from engine.oracle import Entry, aggregate
from hypothesis import given
from hypothesis import strategies as st

from rtcdp.aggregates import NEVER, make

# an aggregate of numbers gets no others: the caller has looked
numbers = st.one_of(st.integers(-5, 5), st.sampled_from([0.1, 0.25, 2.0, -3.0, 19.99, 1e6, 0.0000005]))
values = st.one_of(numbers, st.sampled_from(["a", "b", "", "1", "手机"]), st.booleans())


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, list[tuple[int, Entry]]]:
    """A kind, and (now, entry) in order of arrival: late, out of order, at the same instant, arrays."""
    kind = draw(st.sampled_from(KINDS))
    found: list[tuple[int, Entry]] = []
    now = draw(st.integers(0, 200))
    for place in range(draw(st.integers(0, 14))):
        now += draw(st.sampled_from([0, 0, 1, 2, 7, WITHIN - 1, WITHIN]))
        at = max(0, now - draw(st.sampled_from([0, 0, 1, 5, WITHIN - 1, WITHIN, WITHIN + 1])))
        name = f"{draw(st.integers(0, 9))}{place}"
        if kind in ("count", "first_time", "last_time"):
            found.append((now, Entry(at, name, 0, None)))
            continue
        items = draw(st.lists(numbers if kind in NUMERIC else values, min_size=1, max_size=3))
        found += [(now, Entry(at, name, place, item)) for place, item in enumerate(items)]
    return kind, found


@pytest.mark.parametrize("within", [None, WITHIN])
@given(stream=streams())
def test_value_is_that_of_the_raw_events_at_every_instant(
    within: int | None, stream: tuple[str, list[tuple[int, Entry]]]
) -> None:
    kind, events = stream
    one, slot = make(kind, within), None
    for place, (now, entry) in enumerate(events):
        slot = one.update(slot, entry.at, entry.id, entry.value, now)
        until = events[place + 1][0] if place + 1 < len(events) else now + 2 * WITHIN
        for instant in range(now, until + 1):
            expected = truth(kind, events[: place + 1], within, instant)
            assert same(one.value(slot, instant), expected), (instant, slot)
        assert one.exact(slot)


@given(stream=streams())
def test_next_change_is_the_next_instant_at_which_the_value_changes(stream: tuple[str, list[tuple[int, Entry]]]) -> None:
    kind, events = stream
    one, slot = make(kind, WITHIN), None
    for now, entry in events:
        slot = one.update(slot, entry.at, entry.id, entry.value, now)
        for start in range(now, now + WITHIN + 2):
            due = one.next_change(slot, start)
            assert due > start
            value = one.value(slot, start)
            different = next((t for t in range(start + 1, now + 2 * WITHIN) if not same(one.value(slot, t), value)), NEVER)
            assert due <= different
            if kind in ("count", "last", "last_time"):  # elsewhere one value may leave without changing what is left
                assert due == different
    assert one.next_change(slot, events[-1][0] + WITHIN if events else 0) == NEVER


@given(stream=streams())
def test_lifetime_never_changes_by_time(stream: tuple[str, list[tuple[int, Entry]]]) -> None:
    kind, events = stream
    one = make(kind, None)
    assert one.next_change(fold(one, events), 0) == NEVER


@pytest.mark.parametrize("within", [None, WITHIN])
@given(stream=streams(), seed=st.integers(0, 1000))
def test_any_order_of_the_same_events_gives_the_same_bytes(
    within: int | None, stream: tuple[str, list[tuple[int, Entry]]], seed: int
) -> None:
    kind, events = stream
    now = events[-1][0] if events else 0
    one = make(kind, within)
    groups: dict[str, list[tuple[int, Entry]]] = {}
    for item in events:
        groups.setdefault(item[1].id, []).append(item)  # the items of one array come together
    shuffled = list(groups.values())
    random.Random(seed).shuffle(shuffled)
    mixed = [item for group in shuffled for item in group]
    assert stored(fold(one, mixed, now=now)) == stored(fold(one, events, now=now))
    assert same(one.value(fold(one, mixed, now=now), now), truth(kind, events, within, now))


@pytest.mark.parametrize("within", [None, WITHIN])
@given(stream=streams(), parts=st.lists(st.integers(0, 2), min_size=50, max_size=50))
def test_merging_any_split_gives_the_whole(
    within: int | None, stream: tuple[str, list[tuple[int, Entry]]], parts: list[int]
) -> None:
    kind, events = stream
    now = events[-1][0] if events else 0
    one = make(kind, within)
    ids = sorted({entry.id for _, entry in events})
    part_of = {name: parts[place % len(parts)] for place, name in enumerate(ids)}

    def slots() -> list[Any]:
        return [fold(one, [item for item in events if part_of[item[1].id] == part]) for part in range(3)]

    a, b, c = slots()
    left = one.merge(one.merge(a, b, now), c, now)
    a, b, c = slots()
    right = one.merge(a, one.merge(b, c, now), now)
    a, b, c = slots()
    turned = one.merge(c, one.merge(b, a, now), now)
    for instant in range(now, now + WITHIN + 2):
        expected = truth(kind, events, within, instant)
        assert [same(one.value(slot, instant), expected) for slot in (left, right, turned)] == [True] * 3
    if within is None:
        assert stored(left) == stored(right) == stored(turned)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_in_until_just_before_the_window_has_passed(kind: str) -> None:
    one = make(kind, WITHIN)
    slot = one.update(None, 1000, "m", 3, 1000)
    empty = aggregate(kind, [])
    assert one.value(slot, 1000 + WITHIN - 1) != empty
    assert one.value(slot, 1000 + WITHIN) == empty
    assert one.next_change(slot, 1000) == 1000 + WITHIN
    assert one.update(None, 1000, "m", 3, 1000 + WITHIN) is None  # too late to be in


@pytest.mark.parametrize(("kind", "expected"), [("first", "a"), ("last", "c")])
@pytest.mark.parametrize("within", [None, WITHIN])
def test_first_and_last_of_an_array_are_its_first_and_last_item(kind: str, expected: str, within: int | None) -> None:
    one, slot = make(kind, within), None
    for item in "abc":
        slot = one.update(slot, 5, "m", item, 5)
    assert one.value(slot, 5) == expected
