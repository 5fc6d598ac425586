"""What holds sends back: caps and cooldowns of triggers, groups and channels, quiet hours, holdouts, priorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from engine.harness import Partition
from engine.reactions import DAY, T, event, partition, tick, told
from hypothesis import given
from hypothesis import strategies as st

from rtcdp.folding import quiet
from rtcdp.rules.sending import Quiet, Zone
from rtcdp.times import wall_clock, zones

M = 60
H = 3600
D = 24 * H


# ---- caps and cooldowns ------------------------------------------------------------------------------------------------


def two(**sections: Any) -> Partition:
    triggers = {"a": {"on": "A", "channel": "push"}, "b": {"on": "B", "channel": "push"}, "c": {"on": "C", "channel": "mail"}}
    for name, options in sections.pop("triggers", {}).items():
        triggers[name] |= options
    return partition(triggers=triggers, **sections)


def test_a_group_shares_its_cap() -> None:
    found = two(groups={"g": {"triggers": ["a", "b"], "cap": {"times": 2, "per": "10s"}}})
    found.feed([event(name, at) for at, name in enumerate("ABABC")] + [event("A", 10), event("A", 10.5), event("B", 11)])
    assert told(found) == [
        ("a", "sent", 0),
        ("b", "sent", 1),
        ("a", "cap group g", 2),
        ("b", "cap group g", 3),
        ("c", "sent", 4),
        ("a", "sent", 10),
        ("a", "cap group g", 10.5),
        ("b", "sent", 11),
    ]


def test_a_channel_has_a_cap_for_all_that_is_sent_by_it() -> None:
    found = two(channels={"push": {"cap": {"times": 1, "per": "10s"}}})
    found.feed([event("A", 0), event("B", 1), event("C", 2), event("B", 10)])
    assert told(found) == [("a", "sent", 0), ("b", "cap channel push", 1), ("c", "sent", 2), ("b", "sent", 10)]


def test_the_limits_of_a_trigger_its_group_and_its_channel_hold_together() -> None:
    found = two(
        triggers={"a": {"cap": {"times": 3, "per": "1d"}}},
        groups={"g": {"triggers": ["a", "b"], "cap": {"times": 2, "per": "100s"}}},
        channels={"push": {"cap": {"times": 1, "per": "10s"}}},
    )
    found.feed([event("A", at) for at in (0, 5, 10, 20, 100, 200)] + [event("B", 205), event("B", 215), event("C", 216)])
    assert told(found) == [
        ("a", "sent", 0),
        ("a", "cap channel push", 5),
        ("a", "sent", 10),
        ("a", "cap group g", 20),
        ("a", "sent", 100),
        ("a", "cap", 200),
        ("b", "sent", 205),
        ("b", "sent", 215),
        ("c", "sent", 216),
    ]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"triggers": {"a": {"cooldown": "10s"}}}, ["sent", "sent", "cooldown", "sent", "sent"]),
        (
            {"groups": {"g": {"triggers": ["a", "b"], "cooldown": "10s"}}},
            ["sent", *["cooldown group g"] * 2, "sent", "cooldown group g"],
        ),
        (
            {"channels": {"push": {"cooldown": "10s"}}},
            ["sent", *["cooldown channel push"] * 2, "sent", "cooldown channel push"],
        ),
    ],
)
def test_cooldowns(sections: Any, expected: list[str]) -> None:
    found = two(**sections)
    found.feed([event("A", 0), event("B", 5), event("A", 9.999), event("A", 10), event("B", 15)])
    assert [entry[1] for entry in told(found)] == expected


def test_what_is_not_sent_uses_up_nothing() -> None:
    found = two(triggers={"a": {"cap": {"times": 1, "per": "10s"}}}, channels={"push": {"cap": {"times": 2, "per": "100s"}}})
    found.feed([event("A", 0), event("A", 1), event("A", 2), event("B", 3), event("B", 4)])
    assert [entry[1] for entry in told(found)] == ["sent", "cap", "cap", "sent", "cap channel push"]


# ---- quiet hours -------------------------------------------------------------------------------------------------------

NIGHT = {"from": "22:00", "to": "08:00"}


@pytest.mark.parametrize(
    ("hours", "traits", "at", "expected"),
    [
        (NIGHT, {}, 12 * H, [("sent", 12 * H)]),
        (NIGHT, {}, 22 * H - 0.001, [("sent", 22 * H - 0.001)]),
        (NIGHT, {}, 22 * H, [("sent", D + 8 * H)]),
        (NIGHT, {}, H, [("sent", 8 * H)]),
        (NIGHT, {}, 8 * H - 0.001, [("sent", 8 * H)]),
        (NIGHT, {}, 8 * H, [("sent", 8 * H)]),
        ({"from": "12:00", "to": "13:30"}, {}, 13 * H, [("sent", 13.5 * H)]),
        (NIGHT | {"then": "drop"}, {}, H, [("quiet", H)]),
        (NIGHT | {"zone": "Asia/Shanghai"}, {}, 15 * H, [("sent", D)]),
        (NIGHT | {"zone": "traits.zone", "default": "Asia/Shanghai"}, {}, 15 * H, [("sent", D)]),
        (NIGHT | {"zone": "traits.zone", "default": "Asia/Shanghai"}, {"zone": "Europe/Lisbon"}, 15 * H, [("sent", 15 * H)]),
        (NIGHT | {"zone": "traits.zone", "default": "Asia/Shanghai"}, {"zone": 8}, 15 * H, [("sent", D)]),
    ],
)
def test_quiet_hours(hours: dict[str, str], traits: dict[str, Any], at: float, expected: list[tuple[str, float]]) -> None:
    found = partition(triggers={"t": {"on": "A", "quiet": hours}})
    found.feed([event("A", at, traits=traits), tick(3 * D, simulated=True)])
    assert [entry[1:] for entry in told(found)] == expected


def test_what_is_held_is_due_when_the_hours_end_and_is_checked_again_then() -> None:
    found = partition(triggers={"t": {"on": "A", "quiet": NIGHT, "if": "n == 0", "unless": "Gone", "max_age": "15m"}})
    found.feed([event("A", H), tick(8 * H + 10 * M)])
    (sent,) = found.outputs["1"]
    assert (sent["due"], sent["at"], sent["expires"]) == (T + 8 * H * 1000, T + 8 * H * 1000, T + 8 * H * 1000 + 15 * M * 1000)
    found.feed([event("A", D + H), event("Gone", D + 2 * H), tick(D + 9 * H)])
    assert told(found)[1:] == [("t", "cancelled", D + 2 * H)]
    found.feed([event("A", 2 * D + H), event("Order", 2 * D + 2 * H), tick(2 * D + 8 * H + M)])
    assert len(told(found)) == 2
    # a start that comes while it is held takes its place; too late is counted from the end of the hours
    found = partition(triggers={"t": {"on": "A", "quiet": NIGHT, "max_age": "15m"}})
    found.feed([event("A", H), event("A", 2 * H), tick(8 * H + 16 * M)])
    assert told(found) == [("t", "max_age", 8 * H)]


def test_the_hours_in_which_it_is_revealed_count_too() -> None:
    """The worker stood still from the afternoon to the night: nobody is woken up for it."""
    found = partition(triggers={"t": {"on": "A", "after": "1h", "quiet": NIGHT}})
    found.feed([event("A", 20 * H), tick(23 * H), tick(D + 9 * H)])
    assert told(found) == [("t", "sent", D + 8 * H)]
    late = partition(triggers={"t": {"on": "A", "quiet": NIGHT}})
    late.feed([event("B", 12 * H), event("A", 2 * H, 11 * H)])  # an event of the night that comes at noon
    assert told(late) == [("t", "sent", 12 * H)]


ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
CHANGES = ["2026-03-08", "2026-11-01", "2026-03-29", "2026-10-25", "2026-04-05", "2026-10-04", "2011-12-29", "2026-06-01"]
minutes = st.integers(0, 1439)


@given(
    name=st.sampled_from(ZONES),
    hours=st.tuples(minutes, minutes).filter(lambda pair: pair[0] != pair[1]),
    day=st.sampled_from(CHANGES),
    minute=st.integers(0, 2 * 1440),
    extra=st.sampled_from([0, 1, 59_999]),
)
def test_quiet_hours_are_those_of_the_wall_also_when_it_is_set(
    name: str, hours: tuple[int, int], day: str, minute: int, extra: int
) -> None:
    place = zones.zone(name)
    assert place is not None
    found = Quiet(hours[0] * 60_000, hours[1] * 60_000, Zone(None, name))
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(minutes=minute, hours=-12, milliseconds=extra)
    instant = round(start.timestamp() * 1000)

    def shown(at: datetime) -> bool:
        local = at.astimezone(ZoneInfo(name))
        time = local.hour * 60 + local.minute
        return hours[0] <= time < hours[1] if hours[0] < hours[1] else time >= hours[0] or time < hours[1]

    assert quiet.is_quiet(found, place, instant) == shown(start)
    until = start
    while shown(until):  # minute by minute
        until = until.replace(second=0, microsecond=0) + timedelta(minutes=1)
    assert quiet.end(found, place, instant) == round(until.timestamp() * 1000)


@given(name=st.sampled_from(ZONES), minute=st.integers(21_000_000, 31_000_000))
def test_a_local_time_is_the_first_instant_at_which_the_clock_shows_it_or_a_later_one(name: str, minute: int) -> None:
    place = zones.zone(name)
    assert place is not None
    first, second = wall_clock.instants(place, minute * 60_000)
    shown = [wall_clock.local(place, first + offset) for offset in (-1, 0)]
    if shown[1] == minute * 60_000:
        assert second == first or wall_clock.local(place, second) == minute * 60_000
        earlier = datetime.fromtimestamp(first / 1000, ZoneInfo(name))
        assert earlier.fold == 0
    else:  # skipped: the clock jumps over it
        assert shown[0] < minute * 60_000 < shown[1]
        assert first == second


# ---- holdouts ----------------------------------------------------------------------------------------------------------


def test_a_holdout_is_stable_measurable_and_of_the_right_size() -> None:
    found = partition(
        triggers={"t": {"on": "A", "holdout": "10%", "cap": {"times": 2, "per": "1d"}}, "u": {"on": "A", "holdout": "10%"}}
    )
    found.feed([event("A", at, profile=str(number)) for at in range(3) for number in range(1000)])
    control, outputs = {}, found.outputs
    for number in range(1000):
        items = [item for item in outputs[str(number)] if item["name"] == "t"]
        arms = [item.get("arm") for item in items]
        kinds = [(item["kind"], item.get("reason")) for item in items]
        assert arms in (["treated", "treated", None], ["control", "control", None])
        control[number] = arms[0] == "control"
        expected = [("not_sent", "holdout")] * 2 if control[number] else [("trigger", None)] * 2
        assert kinds == [*expected, ("not_sent", "cap")]  # the arms stay alike
    assert 70 <= sum(control.values()) <= 130
    other = {number: outputs[str(number)][1].get("arm") == "control" for number in range(1000)}
    both = sum(1 for number in range(1000) if control[number] and other[number])
    assert both < 30  # another trigger holds out others


def test_a_group_has_one_arm() -> None:
    found = two(groups={"g": {"triggers": ["a", "b"], "holdout": "50%", "cap": {"times": 9, "per": "1d"}}})
    found.feed([event(name, at, profile=str(number)) for at, name in enumerate("AB") for number in range(50)])
    seen = set()
    for number in range(50):
        arms = {item["arm"] for item in found.outputs[str(number)]}
        assert len(arms) == 1
        seen |= arms
        if arms == {"control"}:
            assert {entry[1] for entry in told(found, profile=str(number))} == {"holdout group g"}
    assert seen == {"control", "treated"}


# ---- priorities --------------------------------------------------------------------------------------------------------

PICKS = {"g": {"triggers": ["low", "zeal", "mid"], "pick": "priority", "pause": "10s"}}
RANKED = {
    # the highest is the last by name
    "low": {"on": "A", "priority": 1},
    "mid": {"on": "B", "priority": 2, "if": "n == 0"},
    "zeal": {"on": "C", "priority": 3},
}


@pytest.mark.parametrize(
    ("sections", "stream", "expected"),
    [
        # the first that is due waits for others
        ({}, [event("A", 0), tick(99)], [("low", "sent", 10)]),
        ({}, [event("A", 0), event("C", 9), tick(99)], [("zeal", "sent", 10), ("low", "priority group g", 10)]),
        ({}, [event("C", 0), event("A", 9), tick(99)], [("zeal", "sent", 10), ("low", "priority group g", 10)]),
        # what is due in the instant in which one is picked is due before that, and too late for the pause
        ({}, [event("A", 0), event("C", 10), tick(99)], [("low", "sent", 10), ("zeal", "sent", 20)]),
        # the highest that nothing else stops
        ({}, [event("Order", 0), event("A", 1), event("B", 2), tick(99)], [("low", "sent", 11)]),
        (
            {"triggers": RANKED | {"zeal": {"on": "C", "priority": 3, "cap": {"times": 1, "per": "1d"}}}},
            [event("C", 0), event("C", 20), event("A", 21), tick(99)],
            [("zeal", "sent", 10), ("zeal", "cap", 30), ("low", "sent", 30)],
        ),
        # without a pause: those of one instant
        (
            {"groups": {"g": PICKS["g"] | {"pause": "0s"}}, "triggers": RANKED | {"low": {"on": "C", "priority": 1}}},
            [event("C", 0), event("B", 1), tick(99)],
            [("zeal", "sent", 0), ("low", "priority group g", 0), ("mid", "sent", 1)],
        ),
    ],
)
def test_one_of_a_group_is_picked(sections: Any, stream: Any, expected: list[tuple[str, str, float]]) -> None:
    whole, single = (partition(**{"groups": PICKS, "triggers": RANKED} | sections) for _ in range(2))
    whole.feed(stream)
    for item in stream:
        single.feed([item])
    assert told(whole) == told(single) == expected


def test_one_that_is_called_off_while_it_contends_leaves_the_place_to_others() -> None:
    triggers = RANKED | {"zeal": {"on": "C", "priority": 3, "unless": "Gone"}}
    found = partition(groups=PICKS, triggers=triggers)
    found.feed([event("A", 0), event("C", 1), event("Gone", 2), tick(99)])
    assert told(found) == [("zeal", "cancelled", 2), ("low", "sent", 10)]


def test_one_that_quiet_hours_hold_contends_again_when_they_end() -> None:
    triggers = RANKED | {"low": {"on": "A", "priority": 1, "quiet": NIGHT}}
    found = partition(groups=PICKS, triggers=triggers)
    found.feed([event("A", 22 * H - 5), tick(23 * H), event("C", D + 8 * H + 5), tick(D + 9 * H)])
    assert told(found) == [("zeal", "sent", D + 8 * H + 10), ("low", "priority group g", D + 8 * H + 10)]


def test_limits_and_their_memory_are_in_the_bytes_of_the_profile() -> None:
    found = partition(groups=PICKS, triggers=RANKED, channels={"push": {"cooldown": "1h"}})
    found.feed([event("A", 0), tick(5)])
    state = dict(found.runner.state)
    again = partition(groups=PICKS, triggers=RANKED, channels={"push": {"cooldown": "1h"}})
    again.runner.restore(state.items())
    again.runner.position, again.offset = found.runner.position, found.offset
    for side in (found, again):
        side.feed([event("C", 9), tick(99)])
    assert told(found) == told(again) == [("zeal", "sent", 10), ("low", "priority group g", 10)]
    assert T % DAY == 0
