"""Triggers: waiting, restarting, calling off, caps, too old, and what is recorded of it."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Partition, compiled
from engine.oracle import Happened, Ticked

from rtcdp.times.timestamps import rfc3339

S = 1000
M = 60 * S
H = 60 * M
DAY = 24 * H
T = 1_772_366_400_000


def partition(trigger: dict[str, Any], **sections: Any) -> Partition:
    return Partition(compiled({"features": {"n": {"count": "Order"}}, "triggers": {"t": trigger}} | sections))


def event(name: str, at: int, received: int | None = None, message: str = "", **more: Any) -> Happened:
    """At: seconds after T at which it occurred."""
    received = at if received is None else received
    return Happened(
        "1", T + received * S, T + at * S, message or f"{name}{at}/{received}", name, more.pop("properties", {}), **more
    )


def tick(at: int, **more: Any) -> Ticked:
    return Ticked(T + at * S, **more)


def decisions(found: Partition) -> list[tuple[str, float]]:
    """What was decided, and when, in seconds after T."""
    items = found.outputs.get("1", [])
    return [(item.get("reason", "sent"), (item["at"] - T) / S) for item in items if item["name"] == "t"]


CART = {"on": "Added", "after": "60s", "unless": "Order"}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ([event("Added", 0), tick(100)], [("sent", 60)]),
        ([event("Added", 0), tick(59)], []),
        ([event("Added", 0), tick(60)], [("sent", 60)]),
        ([event("Added", 0), event("Order", 59), tick(100)], [("cancelled", 59)]),
        # what falls due happens before the record of the same instant
        ([event("Added", 0), event("Order", 60), tick(100)], [("sent", 60)]),
        # the same instant is not after the start
        ([event("Added", 0), event("Order", 0), tick(100)], [("sent", 60)]),
        ([event("Order", 0), event("Added", 0), tick(100)], [("sent", 60)]),
        # an order that came before what started it, by its own time
        ([event("Added", 10), event("Order", 5, 20), tick(100)], [("sent", 70)]),
        # the start comes late: an order folded earlier, which occurred after it, calls it off
        ([event("Order", 50), event("Added", 40, 55), tick(200)], [("cancelled", 55)]),
        ([event("Order", 40), event("Added", 50, 55), tick(200)], [("sent", 110)]),
        # a restart is no record, and counts from the newest
        ([event("Added", 0), event("Added", 30), tick(200)], [("sent", 90)]),
        ([event("Added", 0), event("Added", 30), event("Order", 61), tick(200)], [("cancelled", 61)]),
        ([event("Added", 30), event("Added", 0, 40), tick(200)], [("sent", 90)]),
        # late, and due already: decided where it is folded
        ([event("Added", 0, 61), tick(200)], [("sent", 61)]),
        ([event("Added", 0, 59), tick(200)], [("sent", 60)]),
        # instants of decision never go back
        ([event("Other", 500), event("Added", 0, 490), tick(600)], [("sent", 500)]),
        # the same message again
        ([event("Added", 0, message="m"), event("Added", 30, message="m"), tick(200)], [("sent", 60)]),
        # history starts nothing, but what it tells is known
        ([event("Added", 0, historical=True), tick(200)], []),
        ([event("Added", 0), event("Order", 30, historical=True), tick(200)], [("cancelled", 30)]),
        ([event("Order", 50, historical=True), event("Added", 40, 55), tick(200)], [("cancelled", 55)]),
    ],
)
def test_waiting_and_calling_off(stream: list[Happened | Ticked], expected: list[tuple[str, float]]) -> None:
    whole, single = partition(CART), partition(CART)
    whole.feed(stream)
    for item in stream:
        single.feed([item])
    assert decisions(whole) == decisions(single) == expected


@pytest.mark.parametrize(
    ("bought", "expected"),
    [("a", [("cancelled", 30)]), ("b", [("sent", 60)]), (None, [("sent", 60)])],
)
def test_only_the_same_cart_calls_off(bought: str | None, expected: list[tuple[str, float]]) -> None:
    trigger = {"on": "Added", "after": "60s", "unless": {"event": "Order", "same": "properties.cart"}}
    added = event("Added", 0, properties={"cart": "a"})
    order = event("Order", 30, properties={"cart": bought} if bought else {})
    found = partition(trigger)
    found.feed([added, order, tick(100)])
    assert decisions(found) == expected
    # and the start that comes late
    found = partition(trigger)
    late = event("Added", 0, 31, properties={"cart": "a"})
    found.feed([order, late, tick(100)])
    assert decisions(found) == [(reason, 31 if reason == "cancelled" else at) for reason, at in expected]


def test_a_condition_is_checked_when_it_fires() -> None:
    found = partition({"on": "Added", "after": "60s", "if": "n == 1"})
    found.feed([event("Added", 0), event("Order", 30), event("Added", 100), event("Order", 130), tick(300)])
    assert decisions(found) == [("sent", 60)]


def test_a_payload_is_of_the_start_and_of_the_profile_when_it_fires() -> None:
    payload = {
        "cart": "properties.cart",
        "n": "n",
        "name": "traits.name",
        "when": "occurred",
        "what": "event",
        "id": "message_id",
    }
    found = partition({"on": "Added", "after": "60s", "payload": payload})
    found.feed([event("Added", 0, 5, "m", properties={"cart": {"id": [1, "手"]}}, traits={"name": "A"})])
    found.feed([event("Order", 30, traits={"name": "B"}), tick(100)])
    (sent,) = found.outputs["1"]
    assert sent["payload"] == {"cart": {"id": [1, "手"]}, "n": 1, "name": "B", "when": rfc3339(T), "what": "Added", "id": "m"}
    assert (sent["occurred"], sent["received"], sent["due"], sent["at"]) == (T, T + 5 * S, T + 60 * S, T + 60 * S)
    assert sent["expires"] == T + 60 * S + DAY
    assert (sent["cause"], sent["message_id"]) == ("event", "m")


@pytest.mark.parametrize(
    ("cap", "at", "expected"),
    [
        ({"times": 1, "per": "10s"}, [0, 9, 10, 19, 20], ["sent", "cap", "sent", "cap", "sent"]),
        ({"times": 2, "per": "10s"}, [0, 4, 9, 10, 13, 14], ["sent", "sent", "cap", "sent", "cap", "sent"]),
        # a cap is used up by what is sent, not by what was held back
        ({"times": 1, "per": "10s"}, [0, 5, 6, 7, 8, 9, 10], ["sent", *["cap"] * 5, "sent"]),
        (
            [{"times": 1, "per": "5s"}, {"times": 2, "per": "20s"}],
            [0, 4, 5, 10, 19, 20],
            ["sent", "cap", "sent", "cap", "cap", "sent"],
        ),
    ],
)
def test_caps_roll(cap: Any, at: list[int], expected: list[str]) -> None:
    found = partition({"on": "Added", "cap": cap})
    found.feed([event("Added", second) for second in at])
    assert decisions(found) == [(what, float(second)) for what, second in zip(expected, at, strict=True)]


def test_a_false_condition_uses_up_no_cap() -> None:
    found = partition({"on": "Added", "if": "n >= 1", "cap": {"times": 1, "per": "1d"}})
    found.feed([event("Added", 0), event("Order", 1), event("Added", 2), event("Added", 3)])
    assert decisions(found) == [("sent", 2), ("cap", 3)]


@pytest.mark.parametrize(
    ("reveal", "expected"),
    [
        # due at 60 s, may be 15 minutes old
        (tick(60 + 900), [("sent", 60)]),
        (tick(60 + 901), [("max_age", 60)]),
        (event("Other", 60 + 900), [("sent", 60)]),
        (event("Other", 60 + 901), [("max_age", 60)]),
        # simulated time reveals what falls due at its instant
        (tick(100_000, simulated=True), [("sent", 60)]),
        (event("Other", 100_000, simulated=True), [("sent", 60)]),
    ],
)
def test_what_is_revealed_too_late_is_dropped_and_recorded(
    reveal: Happened | Ticked, expected: list[tuple[str, float]]
) -> None:
    found = partition({"on": "Added", "after": "60s", "max_age": "15m"})
    found.feed([event("Added", 0), reveal])
    assert decisions(found) == expected


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize(("late", "expected"), [(960, "sent"), (961, "max_age")])
def test_a_start_that_itself_comes_too_late(simulated: bool, late: int, expected: str) -> None:
    """The record that brings it is the one that reveals it, in both kinds of time."""
    found = partition({"on": "Added", "after": "60s", "max_age": "15m"})
    found.feed([event("Other", 0, simulated=simulated)])
    found.feed([event("Added", 0, late, simulated=simulated)])
    assert decisions(found) == [(expected, float(late))]


def test_what_is_too_old_is_recorded_whatever_its_condition_says() -> None:
    found = partition({"on": "Added", "if": "n >= 1", "max_age": "15m"})
    found.feed([event("Added", 0, 1000)])
    assert decisions(found) == [("max_age", 1000)]


def test_without_max_age_it_is_a_day() -> None:
    for after, expected in ((86_400, "sent"), (86_401, "max_age")):
        found = partition({"on": "Added"})
        found.feed([event("Added", 0, after)])
        assert decisions(found) == [(expected, float(after))]


def test_entering_and_leaving_a_segment_start_triggers() -> None:
    sections = {
        "features": {"n": {"count": "Order", "within": "10s"}},
        "segments": {"keen": "n >= 1"},
        "triggers": {
            "welcome": {"on": {"entered": "keen"}},
            "bye": {"on": {"exited": "keen"}, "after": "5s", "unless": "Order"},
        },
    }
    found = Partition(compiled(sections))
    found.feed([event("Order", 0, 3, "m"), event("Order", 12), tick(100)])
    items = [(item["kind"], item["name"], (item["at"] - T) // S, item["cause"]) for item in found.outputs["1"]]
    assert items == [
        ("entered", "keen", 3, "event"),
        ("trigger", "welcome", 3, "event"),
        ("exited", "keen", 10, "time"),
        ("entered", "keen", 12, "event"),
        ("not_sent", "bye", 12, "event"),  # called off by the event that brings them back
        ("trigger", "welcome", 12, "event"),
        ("exited", "keen", 22, "time"),
        ("trigger", "bye", 27, "time"),
    ]
    welcome = found.outputs["1"][1]
    assert (welcome["message_id"], welcome["occurred"], welcome["received"]) == ("m", T + 3 * S, T + 3 * S)


def test_two_that_are_due_together_are_decided_in_the_order_of_their_due_instants() -> None:
    sections = {
        "features": {"n": {"count": "Order"}},
        "triggers": {
            "a": {"on": "Added", "after": "30s"},
            "b": {"on": "Added", "after": "20s"},
            "c": {"on": "Added", "after": "20s"},
            "d": {"on": "Added"},
        },
    }
    found = Partition(compiled(sections))
    found.feed([event("Added", 0, 100)])
    assert [(item["name"], item["due"] - T) for item in found.outputs["1"]] == [
        ("d", 0),
        ("b", 20 * S),
        ("c", 20 * S),
        ("a", 30 * S),
    ]


def test_events_are_told_apart_by_properties_of_any_kind() -> None:
    """Many rules that compare one property are found by its value; whatever that value is."""
    features = {f"f{kind}": {"count": "View", "where": f"properties.kind == '{kind}'"} for kind in "abcdef"}
    segments = {f"s{kind}": f"f{kind} >= 1" for kind in "abcdef"}
    for generated in (True, False):
        found = Partition(compiled({"features": features, "segments": segments}), generated=generated)
        kinds: list[Any] = ["a", None, 1, True, ["b"], {"c": 1}, 2.5, "nothing", "d"]
        fold = found.feed([event("View", place, properties={"kind": kind}) for place, kind in enumerate(kinds)])
        assert not fold.letters
        assert [item["name"] for item in found.outputs["1"]] == ["sa", "sd"]


def test_lists_and_odd_dates_are_read() -> None:
    sections = {
        "features": {"kind": {"last": "properties.kind", "of": "View"}},
        "lists": {"mine": ["a", "b"]},
        "tags": {"born": {"value": "month(traits.birthday)"}},
        "segments": {"listed": "in_list(kind, mine)", "other": "not missing(kind) and kind not in mine"},
    }
    for generated in (True, False):
        found = Partition(compiled(sections), generated=generated)
        dates = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "no date", "2000-02-29"]
        log = [event("View", place, traits={"birthday": text}) for place, text in enumerate(dates)]
        log += [event("View", 10 + place, properties={"kind": kind}) for place, kind in enumerate(["a", "z", 1])]
        fold = found.feed(log)
        assert not fold.letters
        items = [(item["kind"], item["name"], item.get("new")) for item in found.outputs["1"]]
        assert items[0] == ("tag", "born", 2)
        assert [item[:2] for item in items[1:]][:3] == [("entered", "listed"), ("exited", "listed"), ("entered", "other")]
