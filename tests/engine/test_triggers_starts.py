"""What starts triggers: stages, tags, dates and schedules; several waits per trigger; restarts, bursts, repetitions."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from engine.harness import Partition
from engine.oracle import Happened, Ticked
from engine.reactions import DAY, T, event, partition, tick, told

from rtcdp import records
from rtcdp.records import Switch

H = 3600
D = 24 * H


def added(at: float, cart: Any, received: float | None = None, **more: Any) -> Happened:
    return event("Added", at, received, f"{cart}{at}", properties={"cart": cart}, **more)


CART = {"on": "Added", "after": "60s", "unless": {"event": "Order", "same": "properties.cart"}}


def order(at: float, cart: Any) -> Happened:
    return event("Order", at, properties={"cart": cart})


@pytest.mark.parametrize(
    ("trigger", "stream", "expected"),
    [
        # each cart waits for itself, with `same` alone too
        (CART, [added(0, "a"), added(10, "b"), tick(100)], [("sent", 60), ("sent", 70)]),
        (CART, [added(0, "a"), added(10, "b"), order(20, "a"), tick(100)], [("cancelled", 20), ("sent", 70)]),
        (CART, [added(0, "a"), added(10, "a"), added(20, "b"), tick(100)], [("sent", 70), ("sent", 80)]),
        (
            {"on": "Added", "after": "60s", "one per": "properties.cart"},
            [added(0, 1), added(5, "1"), tick(99)],
            [("sent", 60), ("sent", 65)],
        ),
        # one per cart, called off by an order of the same shop
        (
            CART | {"one per": "properties.cart", "unless": {"event": "Order", "same": "properties.shop"}},
            [
                event("Added", 0, properties={"cart": 1, "shop": "x"}),
                event("Added", 1, properties={"cart": 2, "shop": "x"}),
                event("Added", 2, properties={"cart": 3, "shop": "y"}),
                event("Order", 9, properties={"shop": "x"}),
                tick(99),
            ],
            [("cancelled", 9), ("cancelled", 9), ("sent", 62)],
        ),
        # a start that is older than one already sent
        (CART, [added(30, "a"), added(10, "a", 95), tick(200)], [("sent", 90), ("superseded", 95)]),
        (CART, [added(30, "a"), added(10, "b", 95), tick(200)], [("sent", 90), ("sent", 95)]),
        ({"on": "Added"}, [added(30, "a"), added(10, "a", 95)], [("sent", 30), ("sent", 95)]),
        (
            CART,
            [added(30, "a"), event("Added", 30, 95, properties={"cart": "a"}), tick(200)],
            [("sent", 90), ("superseded", 95)],
        ),
        # bursts
        ({"on": "Added", "debounce": "10s"}, [added(0, 1), added(9, 2), added(30, 3), tick(99)], [("sent", 19), ("sent", 40)]),
        (
            {"on": "Added", "debounce": {"for": "10s", "at_most": "25s"}},
            [*(added(at, at) for at in range(0, 40, 8)), tick(99)],
            [("sent", 25), ("sent", 42)],
        ),
        # again
        ({"on": "Added", "again": "once"}, [added(0, 1), added(9, 1)], [("sent", 0), ("again", 9)]),
        ({"on": "Added", "again": "10s"}, [added(0, 1), added(9, 1), added(10, 1)], [("sent", 0), ("again", 9), ("sent", 10)]),
        (
            {"on": "Added", "again": "once", "one per": "properties.cart"},
            [added(0, 1), added(5, 2), added(9, 1)],
            [("sent", 0), ("sent", 5), ("again", 9)],
        ),
        # decided again when it is due: two were waiting
        (CART | {"again": "once"}, [added(0, "a"), added(10, "b"), tick(99)], [("sent", 60), ("sent", 70)]),
        (
            {"on": "Added", "again": {"exited": "keen"}},
            [added(0, 1), order(1, 1), added(2, 1), added(3, 1), added(20, 1), order(21, 1), added(22, 1)],
            [("sent", 0), ("sent", 2), ("again", 3), ("sent", 20), ("sent", 22)],
        ),
        # it was sent in the instant in which the segment was entered, and the profile is in it still
        ({"on": "Order", "again": {"exited": "keen"}}, [order(0, 1), order(1, 1)], [("sent", 0), ("again", 1)]),
        # a condition that calls off: at the instant at which it holds, and what starts while it does
        (
            {"on": "Added", "after": "60s", "unless": {"if": "n >= 1"}},
            [added(0, 1), order(5, 1), added(6, 1)],
            [("cancelled", 5), ("cancelled", 6)],
        ),
        (
            {"on": "Added", "after": "60s", "unless": {"if": "since(last) > 8s"}},
            [order(0, 1), added(1, 1), tick(99)],
            [("cancelled", 8.001)],
        ),
        (
            {"on": "Added", "after": "60s", "unless": {"event": "Gone", "if": "n >= 2"}},
            [added(0, 1), event("Gone", 5)],
            [("cancelled", 5)],
        ),
    ],
)
def test_starts(trigger: dict[str, Any], stream: list[Happened | Ticked], expected: list[tuple[str, float]]) -> None:
    features = {"n": {"count": "Order", "within": "10s"}}
    whole, single = (partition(features=features, triggers={"t": trigger}) for _ in range(2))
    whole.feed(stream)
    for item in stream:
        single.feed([item])
    assert told(whole) == told(single) == [("t", reason, at) for reason, at in expected]


def test_more_than_64_carts_are_refused_and_recorded() -> None:
    found = partition(triggers={"t": CART | {"after": "1h"}})
    found.feed([added(at, at) for at in range(66)])
    assert told(found) == [("t", "too_many", 64), ("t", "too_many", 65)]
    found.feed([added(70, 3), tick(2 * H)])
    assert [entry[1] for entry in told(found)[2:]] == ["sent"] * 64


def test_a_stage_and_a_changed_tag_start_triggers() -> None:
    lifecycle = {"stages": [{"active": "since(last) <= 10s"}, {"new": "true"}]}
    triggers = {
        "s": {"on": {"stage": "active"}},
        "b": {"on": {"stage": "new"}, "payload": {"n": "n"}},
        "c": {"on": {"changed": "orders"}},
    }
    found = partition(lifecycle=lifecycle, triggers=triggers, tags={"orders": {"value": "n", "when": "n >= 1"}})
    found.feed([event("A", 0), order(5, 1), order(7, 1), tick(99)])
    assert told(found) == [("b", "sent", 0), ("c", "sent", 5), ("s", "sent", 5), ("c", "sent", 7), ("b", "sent", 17.001)]
    assert found.outputs["1"][-1]["cause"] == "time"


def local(text: str, zone: str) -> float:
    """Seconds after T of a local time."""
    return (datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000 - T) / 1000


def shanghai(text: str) -> float:
    return local(text, "Asia/Shanghai")


def new_york(text: str) -> float:
    return local(text, "America/New_York")


BIRTHDAY = {"at": "traits.birthday", "time": "09:00", "yearly": "true", "zone": "traits.zone", "default": "Asia/Shanghai"}


@pytest.mark.parametrize(
    ("on", "traits", "expected"),
    [
        (BIRTHDAY, {"birthday": "1990-03-05"}, [shanghai("2026-03-05 09:00"), shanghai("2027-03-05 09:00")]),
        (
            BIRTHDAY,
            {"birthday": "1990-03-05", "zone": "America/New_York"},
            [new_york(f"{year}-03-05 09:00") for year in (2026, 2027)],
        ),
        (
            BIRTHDAY,
            {"birthday": "1990-03-05", "zone": "Mars/Olympus"},
            [shanghai(f"{year}-03-05 09:00") for year in (2026, 2027)],
        ),
        # the same day as now, but over already: next year
        (BIRTHDAY | {"time": "07:30"}, {"birthday": "1990-03-01"}, [shanghai("2027-03-01 07:30")]),
        (BIRTHDAY | {"time": "09:30"}, {"birthday": "1990-03-01"}, [shanghai(f"{year}-03-01 09:30") for year in (2026, 2027)]),
        # leap day, and days before
        (BIRTHDAY, {"birthday": "2000-02-29"}, [shanghai("2027-02-28 09:00"), shanghai("2028-02-29 09:00")]),
        (BIRTHDAY | {"before": "3d"}, {"birthday": "1990-03-03"}, [shanghai("2027-02-28 09:00"), shanghai("2028-02-29 09:00")]),
        # a time that clocks skip is the instant at which they jump; one that comes twice is the first
        (
            {"at": "traits.birthday", "time": "02:30", "zone": "America/New_York"},
            {"birthday": "2026-03-08"},
            [new_york("2026-03-08 03:00")],
        ),
        (
            {"at": "traits.birthday", "time": "01:30", "zone": "America/New_York"},
            {"birthday": "2026-11-01"},
            [new_york("2026-11-01 01:30")],
        ),
        # an instant; a local time; in the past; no date
        ({"at": "traits.birthday"}, {"birthday": "2026-03-02T10:00:00+02:00"}, [(D + 8 * H)]),
        ({"at": "traits.birthday", "zone": "Asia/Tokyo"}, {"birthday": "2026-03-02T10:00:00"}, [(D + H)]),
        ({"at": "traits.birthday"}, {"birthday": T + DAY}, [D]),
        ({"at": "traits.birthday"}, {"birthday": "2026-02-02"}, []),
        (BIRTHDAY, {"birthday": "soon"}, []),
        (BIRTHDAY, {"birthday": "9999-12-31"}, []),
        (BIRTHDAY, {"birthday": ["2000-01-01"]}, []),
    ],
)
def test_dates(on: dict[str, Any], traits: dict[str, Any], expected: list[float]) -> None:
    found = partition(triggers={"t": {"on": on}})
    found.feed([event("A", 0, traits=traits), tick(760 * D, simulated=True)])
    assert told(found)[: len(expected) or 1] == [("t", "sent", at) for at in expected]


def test_a_date_that_changes_moves_and_one_that_goes_is_forgotten() -> None:
    found = partition(triggers={"t": {"on": {"at": "traits.day", "time": "00:00"}}})
    found.feed([event("A", 0, traits={"day": "2026-03-05"}), event("B", 5, traits={"day": "2026-03-08"}), tick(8 * D)])
    found.feed([event("C", 8 * D, traits={"day": "2026-03-20"}), event("D", 9 * D, traits={"day": None}), tick(30 * D)])
    assert told(found) == [("t", "sent", 7 * D)]
    (sent,) = found.outputs["1"]
    assert (sent["cause"], sent["occurred"], sent["due"]) == ("time", T + 7 * DAY, T + 7 * DAY)


EVERY = {"every": "Monday 09:00", "in": "keen", "zone": "Asia/Shanghai"}


@pytest.mark.parametrize(
    ("on", "until", "expected"),
    [
        (EVERY, 9 * D, [D + H, 8 * D + H]),  # 1 March 2026 is a Sunday
        (EVERY | {"every": "day 09:00"}, 3 * D, [H, D + H, 2 * D + H]),
        (EVERY | {"every": ["Tuesday 00:00", "Monday 23:30:30"], "zone": "UTC"}, 4 * D, [D + 23.5 * H + 30, 2 * D]),
        (EVERY | {"every": "31 10:00", "zone": "UTC"}, 62 * D, [30 * D + 10 * H, 60 * D + 10 * H]),  # 31 March, 30 April
        # the clock is put forward on 8 March and back on 1 November
        (EVERY | {"every": "Sunday 02:30", "zone": "America/New_York"}, 15 * D, [7.5 * H, 7 * D + 7 * H, 14 * D + 6.5 * H]),
    ],
)
def test_schedules(on: dict[str, Any], until: float, expected: list[float]) -> None:
    found = partition(triggers={"t": {"on": on}})
    found.feed([order(0, 1), tick(until, simulated=True)])
    assert told(found) == [("t", "sent", at) for at in expected]


def test_a_schedule_is_for_members_only() -> None:
    found = partition(
        segments={"keen": "since(last) <= 3d"}, triggers={"t": {"on": EVERY | {"every": "day 00:00", "zone": "UTC"}}}
    )
    found.feed([event("A", 0), tick(D), order(D + 5, 1), tick(9 * D, simulated=True), order(9 * D + 1, 1), tick(10 * D)])
    assert told(found) == [("t", "sent", at * D) for at in (2, 3, 4, 10)]


def test_members_are_spread_and_each_keeps_its_place() -> None:
    found = partition(triggers={"t": {"on": EVERY | {"over": "2h"}}})
    found.feed([event("Order", 0, profile=str(number)) for number in range(200)])
    found.feed([tick(9 * D, simulated=True)])
    offsets = []
    for number in range(200):
        (_, _, first), (_, _, second) = told(found, profile=str(number))
        assert second - first == 7 * D
        offsets.append(first - D - H)
    assert 0 <= min(offsets) < 300
    assert 2 * H - 300 < max(offsets) < 2 * H
    assert len(set(offsets)) > 190


def test_a_schedule_that_comes_with_other_definitions_is_for_those_who_are_members_already() -> None:
    old, new = partition(triggers={}), partition(triggers={"t": {"on": EVERY | {"every": "day 09:00"}}})
    both = Partition(*old.registry.values(), *new.registry.values())
    both.feed([order(0, 1)])
    switch = Switch(number=2, version=next(iter(new.registry)), time=T + 5000)
    both.offset += 1
    both.feed_records([(both.offset, records.TICK_KEY, records.encode(switch))])
    both.feed([tick(6, simulated=True), tick(D, simulated=True)])  # the first takes it past the switch
    assert told(both) == [("t", "sent", H)]
