"""Windows with many events: bounded memory, a stated error, and a flag that tells which."""

from __future__ import annotations

import random

import pytest
from engine.folding import KINDS, NUMERIC, WITHIN, fold, same, stored, truth
from engine.oracle import Entry, aggregate
from hypothesis import given
from hypothesis import strategies as st

from rtcdp.aggregates import MAX_ENTRIES, MAX_VALUES, make

MANY = 10_000
LONG = 256_000  # buckets of 1000 ms


def crowd(kind: str, seed: int = 1) -> list[tuple[int, Entry]]:
    """Many events within one window, somewhat out of order."""
    chance = random.Random(seed)
    found = []
    for place in range(MANY):
        now = 1_000_000 + place * 20
        at = now - chance.randrange(3000)
        value = chance.randrange(-50, 1000) if kind in NUMERIC else f"v{chance.randrange(3000)}"
        found.append((now, Entry(at, f"m{place}", 0, value)))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("within", [None, LONG])
def test_memory_is_bounded(kind: str, within: int | None) -> None:
    one = make(kind, within)
    assert len(stored(fold(one, crowd(kind)))) < 16_384


@pytest.mark.parametrize("kind", ["count", "sum", "min", "max", "avg", "first", "first_time"])
def test_beyond_its_entries_a_window_ends_within_one_bucket(kind: str) -> None:
    """The value is that of a window whose older edge lies at most `within / 256` too early."""
    one, slot, events = make(kind, LONG), None, crowd(kind)
    bucket = LONG // MAX_ENTRIES
    for place, (now, entry) in enumerate(events):
        slot = one.update(slot, entry.at, entry.id, entry.value, now)
        if place % 4999 == 0 and place > MAX_ENTRIES:
            assert not one.exact(slot)
            for instant in (now, now + LONG // 3, now + LONG - 2500):
                gone = instant - LONG
                live = [entry for _, entry in events[: place + 1] if entry.at > gone - bucket]
                edges = sorted({gone - bucket, gone} | {entry.at for entry in live if entry.at <= gone})
                possible = [aggregate(kind, [entry for entry in live if entry.at > edge]) for edge in edges]
                assert one.value(slot, instant) in possible


@pytest.mark.parametrize("kind", ["count", "sum", "min", "max", "avg", "first", "first_time", "most_frequent", "unique"])
def test_exact_up_to_the_stated_number_and_says_so(kind: str) -> None:
    one, slot = make(kind, LONG), None
    for place in range(MAX_ENTRIES + 1):
        assert one.exact(slot)
        slot = one.update(slot, 5000 + place, f"m{place}", place, 6000)
    assert not one.exact(slot)
    # once what was let go has left the window, it is exact again
    now = 5000 + LONG + 1100
    slot = one.update(slot, now, "late", 7, now)
    assert one.exact(slot)
    assert same(one.value(slot, now), aggregate(kind, [Entry(now, "late", 0, 7)]))


@pytest.mark.parametrize("kind", ["last", "last_time"])
def test_the_newest_of_a_window_is_exact_at_any_volume(kind: str) -> None:
    one, events = make(kind, LONG), crowd(kind)
    slot = fold(one, events)
    assert one.exact(slot)
    now = events[-1][0]
    for instant in range(now, now + LONG + 1000, 19_997):
        assert one.value(slot, instant) == truth(kind, events, LONG, instant)


def test_bucketed_windows_do_not_depend_on_order() -> None:
    for kind in ("count", "sum", "min", "max", "avg", "first", "first_time", "unique", "most_frequent"):
        one, events = make(kind, LONG), crowd(kind)[:1200]
        now = events[-1][0]
        mixed = random.Random(5).sample(events, len(events))
        assert stored(fold(one, events, now=now)) == stored(fold(one, mixed, now=now)), kind


def test_bucketed_windows_merge_to_the_whole() -> None:
    for kind in ("count", "sum", "min", "max", "avg", "first", "first_time", "unique", "most_frequent"):
        one, events = make(kind, LONG), crowd(kind)[:1200]
        now = events[-1][0]
        parts = [fold(one, events[start::3], now=now) for start in range(3)]
        merged = one.merge(one.merge(parts[2], parts[0], now), parts[1], now)
        assert stored(merged) == stored(fold(one, events, now=now)), kind


@given(keep=st.integers(1, 5), stream=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=30))
def test_a_count_that_is_only_compared_saturates_and_is_exact_below(keep: int, stream: list[tuple[int, int]]) -> None:
    one, slot, now, all_times = make("count", WITHIN, keep), None, 100, []
    for step, late in stream:
        now += step
        slot = one.update(slot, now - late, "", None, now)
        all_times.append(now - late)
        for instant in range(now, now + WITHIN + 2):
            true = sum(1 for at in all_times if at > instant - WITHIN)
            assert one.value(slot, instant) == min(true, keep)
            if true:
                level = min(true, keep)
                falls = next(t for t in range(instant, instant + 200) if sum(1 for at in all_times if at > t - WITHIN) < level)
                assert one.next_below(slot, instant, level) == falls  # type: ignore[attr-defined] # its own


@pytest.mark.parametrize("within", [None, LONG])
@pytest.mark.parametrize("size", [MAX_VALUES, MAX_VALUES + 1, 1000, 5000])
def test_unique_is_exact_up_to_the_bound_and_near_beyond(size: int, within: int | None) -> None:
    errors = []
    for seed in range(5):
        one, slot = make("unique", within), None
        for place in range(size):
            slot = one.update(slot, 1000 + place, "", f"{seed}/{place}", 1000 + place)
        value = one.value(slot, 1000 + size)
        if size <= MAX_VALUES:
            assert one.exact(slot)
            assert value == size
        else:
            assert not one.exact(slot)
            errors.append((value - size) / size)
            assert abs(errors[-1]) < 4 / (MAX_VALUES - 2) ** 0.5
    if errors:
        assert abs(sum(errors) / len(errors)) < 4 / (5 * (MAX_VALUES - 2)) ** 0.5  # and not to one side


def test_unique_of_a_window_is_near_while_values_leave() -> None:
    one, slot = make("unique", LONG), None
    for place in range(5000):
        slot = one.update(slot, 1000 + place * 20, "", place, 1000 + place * 20)
    for now in range(101_000, 101_000 + LONG + 1, 8000):
        true = sum(1 for place in range(5000) if 1000 + place * 20 > now - LONG)
        assert abs(one.value(slot, now) - true) <= 4 * max(1.0, (true * 5000 / MAX_VALUES) ** 0.5)
    assert one.value(slot, 101_000 + LONG) == 0


def test_a_daily_visitor_has_as_many_active_days_as_days() -> None:
    """However many events a day brings."""
    one, slot = make("unique", 30 * 86_400_000), None
    for day in range(60):
        for event in range(100):
            at = day * 86_400_000 + event
            slot = one.update(slot, at, f"{day}/{event}", f"day {day}", at)
    assert one.value(slot, 59 * 86_400_000 + 99) == 30
    assert one.exact(slot)
    assert len(stored(slot)) < 1500


def test_most_frequent_keeps_what_is_frequent_in_bounded_memory() -> None:
    one, slot = make("most_frequent", None), None
    for place in range(6_000):
        slot = one.update(slot, place, f"m{place}", "often" if place % 10 == 0 else f"v{place}", place)
    assert one.value(slot, 6_000) == "often"
    assert not one.exact(slot)


@pytest.mark.parametrize("within", [None, LONG])
@pytest.mark.parametrize("number", [1e308, -1e308, 10**300, 2**64, 2**53 + 1, 1e-300, 5e-7, 123456789.123457])
def test_any_number_can_be_summed(number: float, within: int | None) -> None:
    for kind in ("sum", "avg", "min", "max"):
        one = make(kind, within)
        slot = one.update(one.update(None, 5, "a", number, 5), 5, "b", 1, 5)
        expected = aggregate(kind, [Entry(5, "a", 0, number), Entry(5, "b", 0, 1)])
        assert one.value(slot, 5) == expected
        stored(slot)
