"""Exact instants: when a window empties, when `since()` turns, and that nothing depends on when anybody looked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from engine.harness import Partition, compiled
from engine.oracle import Happened, Ticked
from hypothesis import given
from hypothesis import strategies as st

from rtcdp.aggregates import NEVER
from rtcdp.folding.timers import Timers
from rtcdp.times.timestamps import rfc3339

DAY = 86_400_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


T = ms("2026-03-01T12:00:00")
# the epoch itself, the leap day, the end of a year, beyond 32 bits of seconds, the last day that the bounds let through
STARTS = [0, 1, ms("1970-01-01T00:00:10"), ms("2024-02-29T23:59:59"), ms("2025-12-31T23:59:59"), ms("2100-02-28T23:59:59")]


def moves(partition: Partition, profile: str = "1") -> list[tuple[str, int]]:
    return [(item["kind"], item["at"]) for item in partition.outputs.get(profile, []) if item["kind"] in ("entered", "exited")]


def happened(occurred: int, received: int | None = None, name: str = "", **more: Any) -> Happened:
    received = occurred if received is None else received
    return Happened(
        "1", received, occurred, name or f"{occurred}/{received}", more.pop("event", "A"), more.pop("properties", {}), **more
    )


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # an event at 0, time told until 100 s: (kind, ms after the event)
        ("since(last) > 10s", [("entered", 10_001)]),
        ("since(last) >= 10s", [("entered", 10_000)]),
        ("since(last) < 10s", [("entered", 0), ("exited", 10_000)]),
        ("since(last) <= 10s", [("entered", 0), ("exited", 10_001)]),
        ("since(last) == 10s", [("entered", 10_000), ("exited", 10_001)]),
        ("since(last) != 10s", [("entered", 0), ("exited", 10_000), ("entered", 10_001)]),
        ("10s < since(last)", [("entered", 10_001)]),
        ("10s < since(last) < 20s", [("entered", 10_001), ("exited", 20_000)]),
        ("not since(last) <= 10s", [("entered", 10_001)]),
        ("since(last) >= 0s", [("entered", 0)]),
        ("since(last) > 0s", [("entered", 1)]),
        ("since(last) > -1s", [("entered", 0)]),
        ("count >= 1", [("entered", 0), ("exited", 10_000)]),
        ("count > 0", [("entered", 0), ("exited", 10_000)]),
        ("count == 0", [("entered", 10_000)]),
        ("count < 1 and since(last) > 30s", [("entered", 30_001)]),
        ("total > 2.5", [("entered", 0), ("exited", 10_000)]),
        ("total <= 2.5", [("entered", 10_000)]),
        ("missing(newest)", [("entered", 10_000)]),
        ("newest == 'x'", [("entered", 0), ("exited", 10_000)]),
        ("kinds == 1", [("entered", 0), ("exited", 10_000)]),
        ("not (total > 2.5) or since(last) == 5s", [("entered", 5_000), ("exited", 5_001), ("entered", 10_000)]),
    ],
)
def test_table_of_instants(start: int, condition: str, expected: list[tuple[str, int]]) -> None:
    definitions = {
        "features": {
            "last": {"last_time": "A"},
            "count": {"count": "A", "within": "10s"},
            "total": {"sum": "properties.n", "of": "A", "within": "10s"},
            "newest": {"last": "properties.k", "of": "A", "within": "10s"},
            "kinds": {"unique": "properties.k", "of": "A", "within": "10s"},
        },
        "segments": {"s": condition},
    }
    one, found = happened(start, properties={"n": 3, "k": "x"}), compiled(definitions)
    for between in ([], [9_999, 10_000, 10_001, 10_002], range(0, 100_000, 4_777)):
        partition = Partition(found)
        partition.feed([one, *(Ticked(start + after) for after in between), Ticked(start + 100_000)])
        assert moves(partition) == [(kind, start + after) for kind, after in expected]
        assert not partition.letters


@pytest.mark.parametrize("late", [0, 1, 9_999])
def test_a_window_goes_by_when_an_event_occurred(late: int) -> None:
    definitions = compiled({"features": {"n": {"count": "A", "within": "10s"}}, "segments": {"s": "n >= 1"}})
    partition = Partition(definitions)
    partition.feed([happened(T, T + late), Ticked(T + 20_000)])
    assert moves(partition) == [("entered", T + late), ("exited", T + 10_000)]


@pytest.mark.parametrize("late", [10_000, 10_001, DAY])
def test_an_event_that_comes_when_its_window_has_passed_is_not_in_it(late: int) -> None:
    definitions = compiled({"features": {"n": {"count": "A", "within": "10s"}}, "segments": {"s": "n >= 1"}})
    partition = Partition(definitions)
    partition.feed([happened(T, T + late), Ticked(T + 2 * DAY)])
    assert moves(partition) == []


def test_an_event_at_the_edge_comes_after_what_falls_due_there() -> None:
    definitions = compiled({"features": {"n": {"count": "A", "within": "10s"}}, "segments": {"s": "n >= 1"}})
    partition = Partition(definitions)
    partition.feed([happened(T), happened(T + 10_000)])
    assert moves(partition) == [("entered", T), ("exited", T + 10_000), ("entered", T + 10_000)]
    partition = Partition(definitions)
    partition.feed([happened(T), happened(T + 9_999), Ticked(T + DAY)])
    assert moves(partition) == [("entered", T), ("exited", T + 19_999)]


def test_a_late_event_does_not_move_time_back() -> None:
    definitions = compiled(
        {
            "features": {"first": {"first_time": "A"}, "n": {"count": "A"}},
            "segments": {"old": "since(first) > 1d", "two": "n >= 2"},
        }
    )
    partition = Partition(definitions)
    partition.feed([happened(T), happened(T - 2 * DAY, T - 5, "late")])
    assert moves(partition) == [("entered", T), ("entered", T)]


@pytest.mark.parametrize("start", STARTS)
def test_leap_days_and_years_change_nothing(start: int) -> None:
    definitions = compiled({"features": {"last": {"last_time": "A"}}, "segments": {"s": "since(last) > 365d"}})
    partition = Partition(definitions)
    partition.feed([happened(start), Ticked(start + 366 * DAY)])
    assert moves(partition) == [("entered", start + 365 * DAY + 1)]


def test_what_falls_due_comes_in_order_before_the_next_record() -> None:
    definitions = compiled(
        {
            "features": {"last": {"last_time": "A"}, "n": {"count": "A", "within": "1h"}},
            "segments": {"a": "since(last) > 30m", "b": "n >= 1", "c": "since(last) > 2h"},
            "triggers": {"t": {"on": "A", "after": "45m", "max_age": "30d"}},
        }
    )
    expected = [("a", 1_800_001), ("t", 2_700_000), ("b", 3_600_000), ("c", 7_200_001)]
    for reveal in (happened(T + DAY, event="B"), Ticked(T + DAY)):
        partition = Partition(definitions)
        partition.feed([happened(T)])
        partition.feed([reveal])
        assert [(item["name"], item["at"] - T) for item in partition.outputs["1"] if item["at"] > T] == expected


def test_one_profile_does_not_move_anothers_time() -> None:
    definitions = compiled({"features": {"last": {"last_time": "A"}}, "segments": {"s": "since(last) > 1h"}})
    partition = Partition(definitions)
    partition.feed([happened(T), Happened("2", T + 365 * DAY, T + 365 * DAY, "far", "A", {})])
    assert moves(partition) == []
    partition.feed([Ticked(T + DAY)])
    assert moves(partition) == [("entered", T + 3_600_001)]
    assert moves(partition, "2") == []


def test_a_put_off_window_is_left_at_the_instant_of_the_event_that_keeps_it() -> None:
    """The k-th newest decides, whatever came between."""
    definitions = compiled({"features": {"n": {"count": "A", "within": "10s"}}, "segments": {"s": "n >= 3"}})
    partition = Partition(definitions)
    partition.feed([happened(T + place * 1000, name=str(place)) for place in range(8)])
    partition.feed([happened(T + 6_500, T + 8_000, "late"), Ticked(T + DAY)])
    assert moves(partition) == [("entered", T + 2_000), ("exited", T + 16_000)]


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_are_written_as_the_calendar_says(instant: int) -> None:
    days, rest = divmod(instant, DAY)
    then = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days, milliseconds=rest)
    assert rfc3339(instant) == then.strftime("%Y").zfill(4) + then.strftime("-%m-%dT%H:%M:%S.") + f"{rest % 1000:03d}Z"


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(0, 20)), max_size=300), st.integers(1, 5))
def test_timers_find_who_is_due_first(changes: list[tuple[bytes, int]], most: int) -> None:
    wakes: dict[bytes, int] = {}
    timers = Timers(lambda key: wakes.get(key, NEVER))
    for key, wake in changes:
        wakes[key] = NEVER if wake == 20 else wake
        timers.add(wakes[key], key)
        due = sorted((at, name) for name, at in wakes.items() if at < NEVER)
        assert timers.next() == (due[0][0] if due else NEVER)
        for until in (5, 19):
            assert timers.due(until, most) == [name for at, name in due if at <= until][:most]
    assert len(timers) <= 64 + 5 * max(1, 4 * len(wakes))
