"""Journeys: the steps of a trigger, on the timers and with the limits of every other."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Partition
from engine.reactions import T, event, partition, tick, told

from rtcdp import records
from rtcdp.records import Switch

M = 60
H = 3600
D = 24 * H


def journey(*steps: Any, **options: Any) -> Partition:
    return partition(triggers={"t": {"on": "Go", "steps": list(steps)} | options.pop("trigger", {})}, **options)


def send(name: str, **options: Any) -> dict[str, Any]:
    return {"send": name} | options


WELCOME = (
    send("hello", payload={"name": "traits.name"}),
    {"wait_for": "Order", "up_to": "3d", "then": [send("thanks"), {"exit": True}]},
    send("voucher", when="n == 0"),
    {"wait": "4d"},
    {"if": "n == 0", "then": [send("last_call")], "else": [{"wait": "1h"}, send("late_thanks")]},
    send("end"),
)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ([], [("hello", 0), ("voucher", 3 * D), ("last_call", 7 * D), ("end", 7 * D)]),
        ([event("Order", D)], [("hello", 0), ("thanks", D)]),
        ([event("Order", 3 * D - 0.001)], [("hello", 0), ("thanks", 3 * D - 0.001)]),
        # what falls due comes before the record of the same instant
        ([event("Order", 3 * D)], [("hello", 0), ("voucher", 3 * D), ("late_thanks", 7 * D + H), ("end", 7 * D + H)]),
        # one that occurred before is not waited for, even if it comes later; the branch knows of it
        ([event("Order", 0, D)], [("hello", 0), ("late_thanks", 7 * D + H), ("end", 7 * D + H)]),
        ([event("Order", 4 * D)], [("hello", 0), ("voucher", 3 * D), ("late_thanks", 7 * D + H), ("end", 7 * D + H)]),
        # under way: another start changes nothing
        ([event("Go", D)], [("hello", 0), ("running", D), ("voucher", 3 * D), ("last_call", 7 * D), ("end", 7 * D)]),
        (
            [event("Go", 7 * D, simulated=True)],
            [("hello", 0), ("voucher", 3 * D), ("last_call", 7 * D), ("end", 7 * D), ("hello", 7 * D)],
        ),
    ],
)
def test_a_welcome(stream: list[Any], expected: list[tuple[str, float]]) -> None:
    whole, single = journey(*WELCOME), journey(*WELCOME)
    items = [event("Go", 0, traits={"name": "Ann"}), *stream, tick(9 * D, simulated=True)]
    whole.feed(items)
    for item in items:
        single.feed([item])
    assert told(whole) == told(single) == [("t", step, at) for step, at in expected]
    assert whole.outputs["1"][0]["payload"] == {"name": "Ann"}


def test_the_conditions_of_the_whole_are_for_its_beginning_and_what_calls_off_for_all_of_it() -> None:
    options = {"after": "1h", "if": "n == 0", "unless": {"event": "Gone", "if": "n >= 3"}, "again": "2d"}
    steps = (send("one"), {"wait": "1d"}, send("two"))
    found = journey(*steps, trigger=options)
    found.feed([event("Go", 0), event("Go", M), event("Order", 2 * H), tick(2 * D, simulated=True)])
    assert told(found) == [("t", "one", M + H), ("t", "two", M + H + D)]
    found.feed([event("Go", 2 * D), event("Go", 2 * D + 2 * H)])  # 2 days after it began
    assert told(found)[2:] == [("t", "again", 2 * D)]
    found.feed([tick(4 * D, simulated=True)])  # `if` does not hold any more: it is counted, not recorded
    assert len(told(found)) == 3
    found = journey(*steps, trigger=options)
    found.feed([event("Go", 0), event("Gone", 2 * H), tick(2 * D), event("Go", 3 * D), tick(3 * D + 2 * H)])
    found.feed([event("Order", 3 * D + 3 * H + at) for at in range(4)])
    assert told(found) == [
        ("t", "one", H),
        ("t", "cancelled", 2 * H),
        ("t", "one", 3 * D + H),
        ("t", "cancelled", 3 * D + 3 * H + 2),
    ]


def test_what_a_limit_stops_is_recorded_with_the_step_and_the_journey_goes_on() -> None:
    steps = (send("one"), {"wait": "1h"}, send("two"), {"wait": "1h"}, send("three", channel="sms"))
    found = journey(*steps, trigger={"channel": "mail"}, channels={"mail": {"cap": {"times": 1, "per": "1d"}}})
    found.feed([event("Go", 0), tick(D)])
    assert told(found) == [("t", "one", 0), ("t", "cap channel mail", H), ("t", "three", 2 * H)]
    stopped = found.outputs["1"][1]
    assert (stopped["step"], stopped["by"]) == ("two", "channel mail")


def test_a_wait_at_the_end_counts_as_under_way() -> None:
    found = journey(send("one"), {"wait": "1h"})
    found.feed([event("Go", 0), event("Go", M), tick(H), event("Go", H + 1)])
    assert told(found) == [("t", "one", 0), ("t", "running", M), ("t", "one", H + 1)]


def test_quiet_hours_hold_the_journey() -> None:
    steps = (send("one"), {"wait": "1h"}, send("two"), {"wait": "1h"}, send("three"))
    found = journey(*steps, trigger={"quiet": {"from": "00:30", "to": "06:00"}})
    found.feed([event("Go", 0), tick(D)])
    assert told(found) == [("t", "one", 0), ("t", "two", 6 * H), ("t", "three", 7 * H)]


def test_what_is_revealed_too_late_is_left_out_and_the_journey_goes_on() -> None:
    steps = (send("one"), {"wait": "1h"}, send("two"), {"wait": "5h"}, send("three"))
    found = journey(*steps, trigger={"max_age": "2h"})
    found.feed([event("Go", 0), tick(4 * H), tick(8 * H)])
    assert told(found) == [("t", "one", 0), ("t", "max_age", H), ("t", "three", 6 * H)]


def test_each_cart_goes_its_own_way() -> None:
    steps = (
        {"wait_for": "Paid", "same": "properties.cart", "up_to": "1h", "then": [{"exit": True}]},
        send("remind", payload={"cart": "properties.cart"}),
    )
    found = journey(*steps, trigger={"one per": "properties.cart"})
    found.feed([event("Go", at, properties={"cart": cart}) for at, cart in enumerate("abc")])
    found.feed([event("Paid", M, properties={"cart": "b"}), event("Paid", M + 1, properties={}), tick(D)])
    assert told(found) == [("t", "remind", H), ("t", "remind", H + 2)]
    assert [item["payload"]["cart"] for item in found.outputs["1"]] == ["a", "c"]


def test_an_event_is_waited_for_by_name_and_by_what_is_in_it() -> None:
    steps = (
        {
            "wait_for": ["Paid", "Refunded"],
            "where": "properties.sum >= 10",
            "up_to": "1h",
            "then": [send("yes")],
            "else": [send("no")],
        },
    )
    found = journey(*steps)
    found.feed([event("Go", 0), event("Paid", 1, properties={"sum": 9}), event("Other", 2, properties={"sum": 10})])
    found.feed([event("Refunded", 3, properties={"sum": 10}), tick(D)])
    assert told(found) == [("t", "yes", 3)]


def test_profiles_are_split_and_each_goes_the_same_way_again() -> None:
    ways = {"a": {"share": "20%", "steps": [send("a")]}, "b": {"share": "30%", "steps": [send("b")]}}
    found = journey({"split": ways}, {"if": "n >= 0", "then": [send("whole")]})
    found.feed([event("Go", at, profile=str(number)) for at in range(2) for number in range(1000)])
    outputs, counts = found.outputs, {"a": 0, "b": 0, "": 0}
    for number in range(1000):
        steps = [item["step"] for item in outputs[str(number)]]
        assert steps in (["whole"] * 2, ["a", "whole"] * 2, ["b", "whole"] * 2)
        counts[steps[0].removeprefix("whole")] += 1
    assert 150 < counts["a"] < 250
    assert 250 < counts["b"] < 350


def test_a_control_arm_goes_through_the_whole_journey_and_gets_nothing() -> None:
    found = journey(send("one"), {"wait": "1h"}, send("two"), trigger={"holdout": "50%"})
    found.feed([event("Go", 0, profile=str(number)) for number in range(20)] + [tick(D)])
    outcomes = {tuple((item["kind"], item["step"], item["arm"]) for item in items) for items in found.outputs.values()}
    assert outcomes == {
        (("trigger", "one", "treated"), ("trigger", "two", "treated")),
        (("not_sent", "one", "control"), ("not_sent", "two", "control")),
    }


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # what comes later may change; where it stands must be the same place
        ((send("one"), {"wait": "1h"}, send("two"), send("new")), [("two", H), ("new", H)]),
        ((send("one"), {"wait": "2h"}, send("two")), [("withdrawn", 5)]),
        ((send("zero"), send("one"), {"wait": "1h"}, send("two")), [("withdrawn", 5)]),
    ],
)
def test_a_journey_goes_on_under_other_definitions_where_its_place_is_there(changed: Any, expected: Any) -> None:
    old, new = journey(send("one"), {"wait": "1h"}, send("two")), journey(*changed)
    both = Partition(*old.registry.values(), *new.registry.values())
    both.feed([event("Go", 0)])
    switch = Switch(number=2, version=next(iter(new.registry)), time=T + 5000)
    both.offset += 1
    both.feed_records([(both.offset, records.TICK_KEY, records.encode(switch))])
    both.feed([tick(6), tick(D)])
    assert told(both) == [("t", "one", 0), *(("t", step, at) for step, at in expected)]


@pytest.mark.parametrize(("late", "expected"), [(15 * M, [("t", "a", H)]), (15 * M + 1, [("t", "max_age", 15 * M + 1)])])
def test_a_journey_whose_beginning_is_too_old_never_begins(late: float, expected: Any) -> None:
    found = journey({"wait": "1h"}, send("a"), trigger={"max_age": "15m"})
    found.feed([event("Go", 0, late), tick(H)])
    assert told(found) == expected
